"""What an interpreter needs beside itself: the library of Python and of Perl, bash's loadable builtins.

Found by their files, without running them.
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
"""How much of perl, or its library, is searched for its directories; Debian's has 4 MB."""

_BASH_BUILTINS: Final = "/usr/lib/bash"


def home_of(
    image: Image, surroundings: Surroundings, program: Object, closure: Sequence[Object], script: str
) -> Home | None:
    """The library of an interpreter, or None where the program is none that is known here.

    script: what it runs, "" where that is not known.
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
    """@INC is compiled into perl, or into its shared library: absolute paths that have "perl" in them.

    What is installed locally, below /usr/local and /etc, is left to -f.
    """
    library = next((each for each in closure if each.elf.soname.startswith("libperl.so")), program)
    content = image.content(library.real, _PERL_MAX_BYTES) or b""
    trees = []
    for path in map(os.fsdecode, dict.fromkeys(_PERL_DIRECTORY.findall(content))):
        local = "/local/" in path or path.startswith("/etc/") or os.path.basename(path) == "perl"
        if not local and image.is_directory(path):
            trees.append(Installation(path, _PERL_OMITTED))
    return Home(tuple(trees))
