"""The file of -df: the names of the data nodes that may register.  Pure but for reading it."""

from __future__ import annotations

import re
from typing import Final

from gproc.errors import TrustError
from gproc.shown import reason_of

MAX_FILE_BYTES: Final = 1 << 20
_LINE: Final = re.compile(r'\s*(?:"([^"]*)"|([^"\s]\S*))(?:\s.*)?')


def names_in(text: str) -> frozenset[str]:
    """The name of each line, in quotes or up to a blank.  What follows it (a user, as in a gridmap) is not read."""
    found = (_LINE.fullmatch(line) for line in text.splitlines() if not line.lstrip().startswith("#"))
    return frozenset(match[1] if match[1] is not None else match[2] for match in found if match)


def may_register(path: str, names: tuple[str, ...]) -> bool:
    """Whether one of a node's names is a line of the file, letter for letter.

    Raises: TrustError if the file cannot be read: then no data node may register.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TrustError(f"nobody may register: {reason_of(error)}") from error
    if len(text) > MAX_FILE_BYTES:
        raise TrustError(f"nobody may register: {path} is longer than {MAX_FILE_BYTES:,} bytes")
    return not names_in(text).isdisjoint(names)
