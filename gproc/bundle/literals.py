"""What a compiled program of the caller's names in its own file: files beside it or in the working directory, and
libraries that it opens by their names (dlopen).

A guess by its strings, as strings(1) shows them.  Programs of the distribution are not searched.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

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


class Literals(NamedTuple):
    """names: strings of a program that may be names.  opens: whether it calls dlopen(3)."""

    names: list[bytes]
    opens: bool


def literals_of(image: Image, program: Object) -> Literals:
    """There are none for a program of the distribution: its file is not read."""
    if is_of_distribution(program.real):
        return Literals([], False)
    found = _NAME.findall(image.text(program.real, _SEARCHED_BYTES))
    return Literals(sorted(set(found))[:_NAMES_MAX], elf.mentions(image.host(program.real), program.elf, _OPENS))


def files_in(image: Image, surroundings: Surroundings, program: Object, literals: Literals) -> Iterator[str]:
    """The files that a program names by a relative path."""
    names = [name for name in literals.names if (b"." in name or b"/" in name) and not _SOURCE.search(name)]
    if literals.opens:
        names += [name for name in literals.names if b"/" in name and name.endswith(b".so")]
    for name in names:
        for directory in dict.fromkeys((surroundings.absolute(""), os.path.dirname(program.real))):
            path = os.path.normpath(f"{directory.rstrip('/')}/{os.fsdecode(name)}")
            walk = image.glance(path)
            if walk is not None and stat.S_ISREG(walk.status.st_mode) and not is_of_distribution(walk.real):
                yield path


def libraries_in(linker: Linker, program: Object, literals: Literals) -> Iterator[str]:
    """The libraries that a program names, and neither needs nor has from a driver."""
    for name in map(os.fsdecode, filter(_LIBRARY.fullmatch, literals.names if literals.opens else [])):
        if name not in program.elf.needed and not _OF_DRIVERS.match(name):
            yield from (each.path for each in linker.find(name, program, program))
