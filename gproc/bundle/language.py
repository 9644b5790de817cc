"""What an interpreter needs besides its closure: the library of Python and of Perl, bash's loadable builtins.

The files are found without running the interpreter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from gproc.bundle import python
from gproc.bundle.closure import Object
from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings

_PERL: Final = re.compile(r"perl(5[\d.]*)?")
_PERL_OMITTED: Final = re.compile(r"\.pod$|/(pod|CORE)$|\.(h|a)$")
_PERL_DIRECTORY: Final = re.compile(rb"(?<=\0)/[A-Za-z0-9_.+/-]*perl[A-Za-z0-9_.+/-]*(?=\0)")
_PERL_MAX_BYTES: Final = 32 << 20
"""The part of perl, or of its library, that is searched for its directories; Debian's has 4 MB."""

_BASH_BUILTINS: Final = "/usr/lib/bash"


def home_of(
    image: Image, surroundings: Surroundings, program: Object, closure: Sequence[Object], script: str
) -> Home | None:
    """The library of an interpreter, or None if the program is not an interpreter known here.

    script: the script that it runs; "" if that is not known.
    """
    name = os.path.basename(program.real)
    if python.NAME.fullmatch(name):
        return python.home_of(image, surroundings, program, script)
    if _PERL.fullmatch(name):
        return _perl(image, program, closure)
    if name == "bash":
        return Home((Installation(_BASH_BUILTINS),) if image.is_directory(_BASH_BUILTINS) else ())
    return None


def _perl(image: Image, program: Object, closure: Sequence[Object]) -> Home:
    """The directories of @INC, which are compiled into perl or its shared library: absolute paths that contain "perl".

    Modules that were installed locally, below /usr/local and /etc, must be added by -f.
    """
    library = next((each for each in closure if each.elf.soname.startswith("libperl.so")), program)
    content = image.content(library.real, _PERL_MAX_BYTES) or b""
    trees = []
    for path in map(os.fsdecode, dict.fromkeys(_PERL_DIRECTORY.findall(content))):
        local = "/local/" in path or path.startswith("/etc/") or os.path.basename(path) == "perl"
        if not local and image.is_directory(path):
            trees.append(Installation(path, _PERL_OMITTED))
    return Home(tuple(trees))
