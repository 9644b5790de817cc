"""What a compiled program of the caller's names in its own file: files beside it or in the working directory, and
libraries that it opens by their names (dlopen).

A guess by its strings, as strings(1) shows them.  Programs of the distribution are not searched.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from gproc.bundle import elf
from gproc.bundle.beside import is_of_distribution
from gproc.bundle.closure import Linker, Object
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings

_SEARCHED_BYTES: Final = 32 << 20
_NAMES_MAX: Final = 500

_NAME: Final = re.compile(rb"(?<=\0)[A-Za-z0-9_.][\w./+@-]{2,200}(?=\0)")
_SOURCE: Final = re.compile(rb"^\.\w|^GLIBC|^GCC_|\.(c|cc|cpp|cxx|h|hpp|f|f90|F90|rs|go|s|S|o|so[\d.]*)$")
_LIBRARY: Final = re.compile(rb"lib[\w+.-]{1,100}\.so[\d.]*")
_OF_DRIVERS: Final = re.compile(r"lib(cuda|nvidia|GLX_|EGL_|mlx|ibverbs|rdmacm|hip|amdhip|hsa|ze_loader|OpenCL)")
"""Libraries that must fit the node's kernel: docs/fidelity.md, "Hardware drivers"."""

_OPENS: Final = frozenset({b"dlopen"})


def files_in(image: Image, surroundings: Surroundings, program: Object) -> Iterator[str]:
    """The files that a program names by a relative path."""
    names = [name for name in _names(image, program) if (b"." in name or b"/" in name) and not _SOURCE.search(name)]
    if elf.mentions(image.host(program.real), program.elf, _OPENS):
        names += [name for name in _names(image, program) if b"/" in name and name.endswith(b".so")]
    for name in names:
        for directory in dict.fromkeys((surroundings.absolute(""), os.path.dirname(program.real))):
            path = os.path.normpath(f"{directory.rstrip('/')}/{os.fsdecode(name)}")
            walk = image.glance(path)
            if walk is not None and stat.S_ISREG(walk.status.st_mode) and not is_of_distribution(walk.real):
                yield path


def libraries_in(image: Image, linker: Linker, program: Object) -> Iterator[str]:
    """The libraries that a program names, and neither needs nor has from a driver."""
    if not elf.mentions(image.host(program.real), program.elf, _OPENS):
        return
    for name in map(os.fsdecode, filter(_LIBRARY.fullmatch, _names(image, program))):
        if name not in program.elf.needed and not _OF_DRIVERS.match(name):
            yield from (each.path for each in linker.find(name, program, program))


def _names(image: Image, program: Object) -> list[bytes]:
    if is_of_distribution(program.real):
        return []
    found = _NAME.findall(image.text(program.real, _SEARCHED_BYTES))
    return sorted(set(found))[:_NAMES_MAX]
