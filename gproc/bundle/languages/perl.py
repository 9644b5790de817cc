"""Perl: the directories of @INC."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image
from gproc.bundle.linking.closure import Object

_OMITTED: Final = re.compile(r"\.pod$|/(pod|CORE)$|\.(h|a)$")
_DIRECTORY: Final = re.compile(rb"(?<=\0)/[A-Za-z0-9_.+/-]*perl[A-Za-z0-9_.+/-]*(?=\0)")
_MAX_BYTES: Final = 32 << 20
"""The part of perl, or of its library, that is searched for its directories; Debian's has 4 MB."""


def home_of(image: Image, program: Object, closure: Sequence[Object]) -> Home:
    """The directories that are compiled into perl or its shared library: absolute paths that contain "perl"."""
    library = next((each for each in closure if each.elf.soname.startswith("libperl.so")), program)
    content = image.content(library.real, _MAX_BYTES) or b""
    places = [os.fsdecode(path) for path in dict.fromkeys(_DIRECTORY.findall(content))]
    places = [path for path in places if os.path.basename(path) != "perl"]
    return Home(tuple(Installation(path, _OMITTED) for path in places if image.is_directory(path)))
