"""Files that a pattern of a shell means: `data/*.csv`, `runs/*/out.txt`, `data/**/*.json`."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gproc.bundle.hidden import is_hidden
from gproc.bundle.image import Image
from gproc.content.paths import within

FILES_MAX: Final = 1000
_DIRECTORIES_MAX: Final = 200
"""Directories that one pattern is looked for in."""

LOOKED_AT_MAX: Final = 5000
"""Names that match a part of one pattern, whatever they are."""

_SMALL_FILES: Final = 300
_SMALL_BYTES: Final = 20 << 20
_LISTED_BYTES: Final = 100 << 20
"""A directory with more is asked for by -f, unless the text lists what is in it."""

_UNUSUAL: Final = frozenset("\\^$()+|{}")
_WORD: Final = re.compile(r"\w")
_NOTHING: Final = re.compile(r"(?!)")


def matching(image: Image, pattern: str, own: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The files, with their sizes; none that is hidden.

    own: the working directory, the home, and where the text lies: there a pattern must say more than that it means all
    files, or all of a suffix in any directory.
    """
    parts = pattern.split("/")
    first = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts))
    fixed, rest = "/".join(parts[:first]), parts[first:]
    unusual = _UNUSUAL.intersection("".join(rest))
    if not rest or unusual or fixed.count("/") < 2 or (fixed in own and not _says_something(rest)):
        return
    todo = [(fixed, rest)]
    listed = found = looked_at = 0
    while todo and listed < _DIRECTORIES_MAX:
        directory, (part, *more) = todo.pop()
        walk = image.glance(directory)
        if walk is None or not stat.S_ISDIR(walk.status.st_mode):
            continue
        listed += 1
        if part == "**":
            todo.append((directory, more or ["*"]))
        for name in names_of(image, walk.real):
            if not _matches(name, part):
                continue
            looked_at += 1
            if looked_at > LOOKED_AT_MAX:
                return
            each = image.glance(f"{directory}/{name}")
            if each is None:
                continue
            if stat.S_ISDIR(each.status.st_mode) and (more or part == "**"):
                todo.append((f"{directory}/{name}", [part, *more] if part == "**" else more))
            elif stat.S_ISREG(each.status.st_mode) and not more and part != "**":
                found += 1
                if found > FILES_MAX:
                    return
                yield f"{directory}/{name}", each.status.st_size


def whole(image: Image, directory: str, home: str, lists: bool) -> list[tuple[str, int]]:
    """The files in a directory that a text names, as of `all_of`; none of one that lies in the home itself.

    lists: whether the text lists directories, so that a larger one counts too.
    """
    bounds = (FILES_MAX, _LISTED_BYTES) if lists else (_SMALL_FILES, _SMALL_BYTES)
    found = None if is_of_home(image, directory, home) else all_of(image, directory, *bounds)
    return found.files if found is not None else []


class AllOf(NamedTuple):
    """files: with their sizes.  empty: directories in which nothing counts."""

    files: list[tuple[str, int]]
    empty: list[str]


def all_of(
    image: Image,
    directory: str,
    files_max: int,
    bytes_max: int,
    omitted: re.Pattern[str] = _NOTHING,
    names_max: int = 0,
) -> AllOf | None:
    """What lies in a directory and below it: all or, if that is too much, None.  No link that leads out of it is
    followed, nor anything that is mounted below it: a server that is gone never answers.

    omitted: names that do not count, those of directories with a slash at their end.
    names_max: in one directory, with those that do not count; 0: as many as files.
    """
    top = image.glance(directory)
    if top is None or not stat.S_ISDIR(top.status.st_mode):
        return None
    found: list[tuple[str, int]] = []
    empty: list[str] = []
    sizes: dict[str, int] = {}
    left_bytes = bytes_max
    left_names = 2 * max(files_max, names_max)
    todo = [(directory, top.real)]
    while todo:
        here, real = todo.pop()
        if image.has_many(real, max(files_max, names_max)):
            return None
        counted = 0
        for name in names_of(image, here):
            left_names -= 1
            if is_hidden(name) or image.is_mount_point(f"{real.rstrip('/')}/{name}"):
                continue
            each = image.glance(f"{here}/{name}")
            if each is None or not within(each.real, top.real):
                continue
            is_directory = stat.S_ISDIR(each.status.st_mode)
            if omitted.fullmatch(f"{name}/" if is_directory else name):
                continue
            counted += 1
            if is_directory and not within(real, each.real):  # a link may lead back
                todo.append((f"{here}/{name}", each.real))
            elif stat.S_ISREG(each.status.st_mode):
                left_bytes -= each.status.st_size
                sizes[each.real] = each.status.st_size
                found.append((f"{here}/{name}", each.status.st_size))
        if not counted:
            empty.append(here)
        if sum(sizes.values()) > bytes_max:
            image.note_large(sizes, bytes_max)
        if left_bytes < 0 or left_names < 0 or len(found) > files_max:
            return None
    return AllOf(found, empty)


def is_of_home(image: Image, directory: str, home: str) -> bool:
    """Whether a directory lies in the home itself, or holds it.

    What lies there is the user's own: a word such as Mail, or Documents, names nothing there.
    """
    walks = image.glance(directory), image.glance(home) if home else None
    places = {directory, *(walk.real for walk in walks[:1] if walk is not None)}
    homes = {home.rstrip("/"), *(walk.real for walk in walks[1:] if walk is not None)} - {""}
    return any(os.path.dirname(place) == each or within(each, place) for place in places for each in homes)


def _says_something(parts: Sequence[str]) -> bool:
    if len(parts) == 1:
        return _WORD.search(parts[0]) is not None
    return any(len(_WORD.findall(part)) > 1 for part in (*parts[:-1], os.path.splitext(parts[-1])[0]))


def _matches(name: str, part: str) -> bool:
    return name[0] != "." and fnmatch.fnmatchcase(name, "*" if part == "**" else part)


def is_pattern(path: str) -> bool:
    return "*" in path or "?" in path


def names_of(image: Image, directory: str) -> list[str]:
    try:
        return sorted(image.names(directory))
    except OSError:  # the caller may not read it, and neither may the script
        return []
