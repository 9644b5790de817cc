"""The names of files in a text: what a script, a list or a file of settings may mean.  Pure.

Nothing is executed: what counts are strings in quotes, alone or joined with their neighbours, and in languages without
quotes all words.  A name of nothing is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

STRINGS_MAX: Final = 2000
"""Strings of one text that are looked for."""

_JOINED_MAX: Final = 4
"""Strings of one path: `os.path.join(here, "data", "in.csv")`."""

_STRING: Final = re.compile(rb"\"([^\"\n]{1,300})\"|'([^'\n]{1,300})'")
_BETWEEN: Final = re.compile(rb"\)?[\s,/+]{1,80}|\)+\.\w{1,20}\(")
"""What may stand between two strings that are parts of one path."""

_WORD: Final = re.compile(rb"[^\s;&|<>()\[\]{}\"'`$=]{1,300}")
_WRITTEN: Final = re.compile(rb"(?<![-=])>{1,2}\|?\s*(?![&(])[^\s;&|<>()]{1,300}")
"""A file that a shell writes to: it is the node's file, and is not brought."""

_OPENED: Final = re.compile(
    rb"(?:open|file)\s{0,9}\(\s{0,9}(?:\"[^\"\n]{1,300}\"|'[^'\n]{1,300}')"
    rb"\s{0,9},\s{0,9}(?:mode\s{0,9}=\s{0,9})?[\"'][wax][bt+]{0,2}[\"']"
)
"""What other languages open to write: `open("/home/me/results", "a")`."""

_OF_WORDS: Final = ("sh", "tcl", "m4", "make")
"""Languages whose strings need no quotes."""

_HEAD: Final = re.compile(
    r"(?:\$\(dirname (?:--? )?(?:\"?\$0\"?|\"?\$\{?BASH_SOURCE(?:\[0\])?\}?\"?)\)|\$\{?FindBin::(?:Real)?Bin\}?"
    r"|\$\{(?:0|BASH_SOURCE(?:\[0\])?)%/\*\}|[$#]?\{[\w.:\[\]]{1,60}\}|\$\([A-Za-z_]\w{0,60}\)|\$\w{1,60}|\.)?/"
)
"""How texts write "beside me", or "below a directory that is in a variable"."""

_BESIDE: Final = re.compile(_HEAD.pattern.encode() + rb"([\w./+@%*?-]{1,300})")
_PATH_LIKE: Final = re.compile(rb"(?<![\w./+@%~:-])[\w./+@%~-]{3,300}(?![\w/+@%~-])")
_NUMBER: Final = re.compile(rb"[\d./+%~@-]+([eEdD][\d+-]*)?")
_OF_HOME: Final = re.compile(r"(?:~|\$HOME|\$\{HOME\})/(?=[^/])")


def names_in(text: bytes, language: str) -> list[str]:
    """The names in a script.  language: "" for data, in which every word that looks like a path counts."""
    if language in ("sh", "make"):
        text = _WRITTEN.sub(b" ", text)
    text = _OPENED.sub(b" ", text)
    strings = [(match.start(), match.end(), match[1] or match[2] or b"") for match in _STRING.finditer(text)]
    strings = strings[:STRINGS_MAX]
    found = [string for _, _, string in strings]
    found += _joined(text, strings)
    if language in _OF_WORDS:
        found += _WORD.findall(text)[:STRINGS_MAX]
        found += _BESIDE.findall(text)[:STRINGS_MAX]
    if not language:
        found += [word for word in _PATH_LIKE.findall(text) if looks_like_path(word)][:STRINGS_MAX]
    return sorted({string.decode(errors="surrogateescape") for string in found})


def looks_like_path(word: bytes) -> bool:
    """Whether it has a directory or a suffix, and is no number."""
    return (b"/" in word or b"." in word.strip(b".")) and not _NUMBER.fullmatch(word)


def below_home(name: str) -> str:
    """What follows `~/` or `$HOME/`; "" if the name begins otherwise."""
    match = _OF_HOME.match(name)
    return name[match.end() :] if match is not None else ""


def relative(name: str, language: str) -> str:
    """A name without "beside me" in front; "" if it cannot be one of a file."""
    found = _HEAD.sub("", name, count=1) if _HEAD.match(name) else name
    if language == "lua":
        found = found.partition("?")[0]  # package.path has templates: ./lib/?.lua
    return "" if found.startswith(("/", "-", "~")) or "\0" in found else found


def _joined(text: bytes, strings: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
    """Neighbours as one path, beginning with each of them."""
    joins = [_BETWEEN.fullmatch(text, end, start) is not None for (_, end, _), (start, _, _) in pairwise(strings)]
    for first in range(len(strings)):
        path = strings[first][2]
        for index in range(first + 1, min(first + _JOINED_MAX, len(strings))):
            if not joins[index - 1] or b" " in strings[index][2]:
                break
            path += b"/" + strings[index][2]
            yield path
