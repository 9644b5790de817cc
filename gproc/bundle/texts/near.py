"""Files near a program whose names stand in its text, for languages whose strings have no end: Fortran, Rust, Go.

There "input.nml" and the string behind it are one run of letters, so the names are taken from the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from gproc.bundle.image import Image
from gproc.bundle.texts import patterns

_ENTRIES_MAX: Final = 2000
_DEPTH_MAX: Final = 3
_OCCURRENCES_MAX: Final = 20_000
SUFFIXES_MAX: Final = 64
"""The text is searched once for each, so numbers, of which there may be one for each file, are none."""

_SEARCHED_BYTES_MAX: Final = 1 << 30
"""All searches together: a second."""

_NO_DATA: Final = frozenset({"CMakeFiles", "node_modules", "__pycache__", "target", "build"})
_OF_BUILDS: Final = (".o", ".a", ".so", ".mod", ".rs", ".go", ".f90", ".f", ".F90", ".c", ".h", ".cc", ".cpp", ".d")
_OF_FORTRAN: Final = b"_gfortran_"


def files_named(image: Image, directory: str, home: str, text: bytes) -> Iterator[tuple[str, int]]:
    """The files below a directory whose path from there stands in a text, with their sizes."""
    by_suffix: dict[bytes, dict[bytes, int]] = {}
    named: list[str] = []
    at = len(directory) + 1
    for path, size in _below(image, directory):
        name = os.fsencode(path[at:])
        base = name.rpartition(b"/")[2]
        suffix = b"." + base.rpartition(b".")[2] if b"." in base else b"/" + base if b"/" in name else b""
        if size < 0:
            named.append(path)
        elif suffix and len(name) > 3 and not suffix[1:].isdigit():
            by_suffix.setdefault(suffix, {})[name] = size
    looks = min(SUFFIXES_MAX, _SEARCHED_BYTES_MAX // max(len(text), 1))
    for suffix in sorted(by_suffix, key=lambda each: (each.startswith(b"/"), each))[:looks]:
        names = by_suffix[suffix]
        yield from ((f"{directory}/{os.fsdecode(name)}", names[name]) for name in _standing(text, suffix, names))
    for path in named if _OF_FORTRAN in text else ():
        if not patterns.is_of_home(image, path, home) and _is_written(text, os.fsencode(path[at:]) + b"/"):
            yield from patterns.matching(image, f"{path}/*", ())


def _standing(text: bytes, suffix: bytes, names: dict[bytes, int]) -> list[bytes]:
    found: dict[bytes, None] = {}
    lengths = sorted({*map(len, names)})
    at = text.find(suffix)
    for _ in range(_OCCURRENCES_MAX):
        if at < 0 or len(found) == len(names):
            break
        end = at + len(suffix)
        before = text[max(0, end - lengths[-1]) : end]
        found |= dict.fromkeys(name for length in lengths if (name := before[-length:]) in names)
        at = text.find(suffix, end)
    return list(found)


def _is_written(text: bytes, name: bytes) -> bool:
    at = text.find(name)
    return at > 0 and not (text[at - 1 : at].isalnum() or text[at - 1 : at] in (b"/", b".", b"_", b"-"))


def _below(image: Image, directory: str) -> Iterator[tuple[str, int]]:
    """Files with their sizes, and directories with -1; nothing hidden, and nothing that a compiler made."""
    todo = [(directory, 0)]
    seen = 0
    while todo:
        here, depth = todo.pop()
        names = patterns.names_of(image, here)
        seen += len(names)
        if seen > _ENTRIES_MAX:
            return
        for name in names:
            if name[0] == "." or name in _NO_DATA or name.endswith(_OF_BUILDS):
                continue
            path = f"{here}/{name}"
            walk = image.glance(path)
            if walk is not None and stat.S_ISREG(walk.status.st_mode):
                yield path, walk.status.st_size
            elif walk is not None and stat.S_ISDIR(walk.status.st_mode) and not walk.links:
                yield path, -1
                if depth < _DEPTH_MAX:
                    todo.append((path, depth + 1))
