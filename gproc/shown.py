"""Text that others chose (a file's name, a node's message, a command), for a terminal or a log.  Pure.

All text of others goes through here before it is printed or logged: nothing in it moves a cursor, forges a line or
hides another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

COMMAND_CHARACTERS: Final = 200
"""The limit of a command in a log or a table: about two lines of a terminal."""


def command_text(argv: Sequence[bytes]) -> str:
    """A command in one line, quoted as for a shell and cut to a bound."""
    from shlex import quote  # most commands name none

    words = (quote(word.decode(errors="surrogateescape")) for word in argv[:COMMAND_CHARACTERS])
    text = shown_text(" ".join(words))
    return text if len(text) <= COMMAND_CHARACTERS else text[:COMMAND_CHARACTERS] + "..."


def shown(path: bytes) -> str:
    """Bytes in one line: UTF-8 as it is, all that a terminal might obey or that would break the line escaped."""
    return shown_text(path.decode(errors="backslashreplace"))


def shown_text(text: str, *, keep: str = "") -> str:
    """Text in one line: what is not printable is escaped, but for the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def quoted_text(text: str) -> str:
    """A word that a person has written, as repr() has it; but a byte that is no text is written as that byte."""
    if not any(_is_byte(each) for each in text):
        return repr(text)
    return "'" + "".join(_escaped(each) if _is_byte(each) else repr(each)[1:-1] for each in text) + "'"


def _is_byte(character: str) -> bool:
    """Whether it stands for a byte that is no text: PEP 383."""
    return "\udc80" <= character <= "\udcff"


def _escaped(character: str) -> str:
    """A byte that is no text (PEP 383) is written as that byte, as `shown` writes it."""
    if _is_byte(character):
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def reason_of(error: BaseException) -> str:
    """Why something failed, in words for people: for an error of the system, its file and its reason, and no number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    if isinstance(error.filename, bytes | str):
        name = error.filename if isinstance(error.filename, bytes) else error.filename.encode(errors="surrogateescape")
        return f"{shown(name)}: {error.strerror}"
    return error.strerror


def count_text(count: int, noun: str) -> str:
    """For nouns whose plural has an s more: "1 node", "2 nodes"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def bytes_text(count: float) -> str:
    """A size as `ls -h` shows it."""
    for unit in ("B", "K", "M", "G"):
        if count < 1000 or unit == "G":
            return f"{count:.0f}{unit}" if unit == "B" or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    raise AssertionError
