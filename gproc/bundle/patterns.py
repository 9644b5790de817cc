"""Files that a pattern of a shell means: `data/*.csv`, `runs/*/out.txt`, `data/**/*.json`."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gproc.bundle.image import Image

FILES_MAX: Final = 1000
_DIRECTORIES_MAX: Final = 200
"""Directories that one pattern is looked for in."""

_SMALL_FILES: Final = 300
_SMALL_BYTES: Final = 20 << 20
"""A directory with more is asked for by -f, unless the text lists what is in it."""

_UNUSUAL: Final = frozenset("\\^$()+|{}")
_WORD: Final = re.compile(r"\w")


def matching(image: Image, pattern: str, own: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The files, with their sizes; none that is hidden.

    own: the working directory and the home, of which a pattern must say more than that it means all files there.
    """
    parts = pattern.split("/")
    first = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts))
    fixed, rest = "/".join(parts[:first]), parts[first:]
    unusual = _UNUSUAL.intersection("".join(rest))
    if not rest or unusual or fixed.count("/") < 2 or (fixed in own and not _WORD.search("".join(rest))):
        return
    todo = [(fixed, rest)]
    listed = found = 0
    while todo and listed < _DIRECTORIES_MAX:
        directory, (part, *more) = todo.pop()
        walk = image.glance(directory)
        if walk is None or not stat.S_ISDIR(walk.status.st_mode):
            continue
        listed += 1
        if part == "**":
            todo.append((directory, more or ["*"]))
        for name in names_of(image, walk.real):
            each = image.glance(f"{directory}/{name}") if _matches(name, part) else None
            if each is None:
                continue
            if stat.S_ISDIR(each.status.st_mode) and (more or part == "**"):
                todo.append((f"{directory}/{name}", [part, *more] if part == "**" else more))
            elif stat.S_ISREG(each.status.st_mode) and not more and part != "**":
                found += 1
                if found > FILES_MAX:
                    return
                yield f"{directory}/{name}", each.status.st_size


def whole(image: Image, directory: str, home: str) -> list[tuple[str, int]]:
    """The files in a directory and below it, with their sizes; none if it is no small one, or lies in the home itself.

    What lies there is the user's own: a word such as Mail names nothing there.
    """
    if os.path.dirname(directory) == home.rstrip("/") or _has_many(image.host(directory)):
        return []
    found: list[tuple[str, int]] = []
    left_bytes = _SMALL_BYTES
    for path, size in matching(image, f"{directory}/**/*", ()):
        left_bytes -= size
        if left_bytes < 0 or len(found) == _SMALL_FILES:
            return []
        found.append((path, size))
    return found


def _has_many(directory: str) -> bool:
    """Seen without a record, which would hold all of them."""
    try:
        with os.scandir(directory) as entries:
            return sum(1 for _ in islice(entries, _SMALL_FILES + 1)) > _SMALL_FILES
    except OSError:
        return True


def _matches(name: str, part: str) -> bool:
    return name[0] != "." and fnmatch.fnmatchcase(name, "*" if part == "**" else part)


def is_pattern(path: str) -> bool:
    return "*" in path or "?" in path


def names_of(image: Image, directory: str) -> list[str]:
    try:
        return sorted(image.names(directory))
    except OSError:  # the caller may not read it, and neither may the script
        return []
