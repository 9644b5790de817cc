"""The locale and the time zone that a program of the caller's asks for, as glibc's files: for nodes that lack them.

Without them a program falls back to C and to UTC, mostly without a word: names in UTF-8 are shown as octal numbers,
tmux does not start, ksh warns.

Source: setlocale(3), locale(7); localedef(1) for the spelling of code sets.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from typing import Final

from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.zones import zone_file

_PLACE: Final = "/usr/lib/locale"
_ARCHIVE: Final = f"{_PLACE}/locale-archive"
_ARCHIVE_BYTES_MAX: Final = 16 << 20
"""Five locales of Debian; one that has them all has 200 MB."""

_CATEGORIES: Final = (
    "LC_CTYPE", "LC_COLLATE", "LC_NUMERIC", "LC_TIME", "LC_MONETARY", "LC_MESSAGES", "LC_PAPER", "LC_MEASUREMENT",
)  # fmt: skip
_LITERAL: Final = re.compile(
    rb"(?<![\w.])[a-z]{2,3}_[A-Z]{2}(?:\.(?:UTF-?8|utf-?8|ISO-?8859-?\d{1,2}))?(?:@[a-z]{1,9})?(?![\w.@-])"
)
_LITERALS_MAX: Final = 5
_NAME: Final = re.compile(r"([A-Za-z_]{1,20})(?:\.([A-Za-z0-9-]{1,20}))?(@[a-z]{1,20})?")


def zone(surroundings: Surroundings) -> tuple[str, ...]:
    """The file that TZ names; none if it says a rule, such as CET-1, or is not set."""
    return zone_file(surroundings.variable("TZ") or "")


def files(image: Image, surroundings: Surroundings) -> tuple[str, ...]:
    """The files of the locales that the caller's variables name; none for "C", or if one is not here either."""
    whole = surroundings.variable("LC_ALL")
    names = [whole] if whole else [*map(surroundings.variable, (*_CATEGORIES, "LANG"))]
    return files_of(image, dict.fromkeys(name for name in names if name))


def files_of(image: Image, names: Iterable[str]) -> tuple[str, ...]:
    """The files of locales by their names."""
    return tuple(dict.fromkeys(path for name in names for path in _files_of(image, name)))


def named_in(text: bytes) -> list[str]:
    """The names of locales in a program's or a script's text: `setlocale(LC_ALL, "fr_FR.UTF-8")`."""
    return sorted({name.decode() for name in _LITERAL.findall(text)})[:_LITERALS_MAX]


def _files_of(image: Image, said: str) -> tuple[str, ...]:
    match = _NAME.fullmatch(said)
    if match is None or said in ("C", "POSIX"):
        return ()
    language, codeset, modifier = match[1], match[2], match[3] or ""
    normal = re.sub("[^a-z0-9]", "", codeset.lower()) if codeset else ""
    for name in (said, f"{language}.{normal}{modifier}"):
        if found := _files_in(image, f"{_PLACE}/{name}"):
            return found
    status = image.lstat(_ARCHIVE)
    is_taken = status is not None and stat.S_ISREG(status.st_mode) and status.st_size <= _ARCHIVE_BYTES_MAX
    return (_ARCHIVE,) if is_taken and language != "C" else ()


def _files_in(image: Image, directory: str) -> tuple[str, ...]:
    """A locale's files; one of its categories, LC_MESSAGES, is a directory."""
    found: list[str] = []
    for name in image.names(directory):
        path = f"{directory}/{name}"
        walk = image.glance(path)  # locales that have a file in common have it as a link
        if walk is not None and stat.S_ISREG(walk.status.st_mode):
            found.append(path)
        elif walk is not None and stat.S_ISDIR(walk.status.st_mode) and name.startswith("LC_"):
            found += [f"{path}/{each}" for each in image.names(path)]
    return tuple(found)
