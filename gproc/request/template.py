"""A command with replacement strings, as GNU parallel has them, and the command of one task.  Pure.

    {}    the value           {/}   without its directory       {#}  the number of the task
    {.}   without extension   {//}  its directory alone         {%}  the slot of its node, from 1
                              {/.}  without both

With a number in front, as in {2} or {1/.}, it is that value of a task that has several; from the end if it is negative.
A word that is `{}` alone becomes as many words as the task has values.  In any other place the values are joined by
blanks.  In a line for a shell each value is quoted, so that the shell takes it as one word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from gproc.request.shell_line import Misplaced, misplaced

VALUE_BYTES_MAX: Final = (128 << 10) - 1
"""MAX_ARG_STRLEN of Linux without the final NUL: execve(2) takes no longer word."""

COMMAND_BYTES_MAX: Final = 2 << 20
"""All words of one task's command.  With the usual stack of 8 MiB, execve(2) takes 2 MiB of words and variables."""

_STRINGS: Final = re.compile(rb"\{(?:(?:-?[1-9][0-9]{0,3})?(?:|\.|/|//|/\.)|#|%)\}")
_NUMBER: Final = re.compile(rb"-?[0-9]+")
_EXTENSION: Final = re.compile(rb"\.[^/.]+\Z")
_HARMLESS: Final = re.compile(rb"[A-Za-z0-9_@%+=:,./-]+\Z")

WHOLE: Final = b"{}"


def directory_of(value: bytes) -> bytes:
    """As dirname(1) prints it."""
    kept = value.rstrip(b"/")
    if not kept:
        return b"/" if value else b"."
    directory, slash, _ = kept.rpartition(b"/")
    return (directory.rstrip(b"/") or b"/") if slash else b"."


def name_in(value: bytes) -> bytes:
    """What follows the last slash."""
    return value.rpartition(b"/")[2]


def without_extension(value: bytes) -> bytes:
    return _EXTENSION.sub(b"", value)


_OF_VALUE: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"{}": lambda value: value,
    b"{.}": without_extension,
    b"{/}": name_in,
    b"{//}": directory_of,
    b"{/.}": lambda value: without_extension(name_in(value)),
}


def _value_in(part: bytes) -> tuple[bytes, int | None] | None:
    """The string for a value that a part of a command is, without its number, and that; None if it is none."""
    if part in _OF_VALUE:
        return part, None
    if _STRINGS.fullmatch(part) is None or (number := _NUMBER.match(part, 1)) is None:
        return None
    return b"{" + part[number.end() :], int(number[0])


class CommandTooLong(ValueError):
    """The command of one task has more bytes than the kernel takes."""


class Template:
    """words: the command.  quoted: its words are lines for a shell, so values in them are quoted."""

    def __init__(self, words: Sequence[bytes], *, quoted: bool = False) -> None:
        self.words = tuple(words)
        self._quoted = quoted
        self._parts = [_parts(word) for word in self.words]
        every = [part for parts in self._parts for part in parts]
        self._of_value = {part: found for part in every if (found := _value_in(part)) is not None}
        self._uses = sum(part in self._of_value for part in every)
        self._own_bytes = sum(map(len, self.words))

    def command(self, values: Sequence[bytes], number: int, slot: int) -> tuple[bytes, ...]:
        """The words of one task.  Raises: CommandTooLong."""
        self.check(values)
        words: list[bytes] = []
        for word, parts in zip(self.words, self._parts, strict=True):
            if word == WHOLE and not self._quoted:
                words += values
            elif len(parts) == 1 and parts[0] == word and not _STRINGS.fullmatch(word):
                words.append(word)
            else:
                words.append(b"".join(self._filled(part, values, number, slot) for part in parts))
        return tuple(words)

    def check(self, values: Sequence[bytes]) -> None:
        """Raises: CommandTooLong if the command of a task with these values would be too long."""
        size = self._own_bytes + (sum(map(len, values)) + len(values)) * self._uses
        if size > COMMAND_BYTES_MAX or max(map(len, values), default=0) > VALUE_BYTES_MAX:
            raise CommandTooLong

    def _filled(self, part: bytes, values: Sequence[bytes], number: int, slot: int) -> bytes:
        if part == b"{#}":
            return b"%d" % number
        if part == b"{%}":
            return b"%d" % slot
        if part not in self._of_value:
            return part
        string, which = self._of_value[part]
        if which is not None:
            values = values[which - 1 if which > 0 else which :][:1] if abs(which) <= len(values) else ()
        changed = map(_OF_VALUE[string], values)
        return b" ".join(map(_quoted, changed) if self._quoted else changed)


def completed(words: Sequence[bytes], *, shell: bool = False) -> tuple[bytes, ...]:
    """The words with `{}` behind them, if no replacement string for the value is in them.

    shell: they are one line for a shell, joined by blanks.
    """
    joined = (b" ".join(words),) if shell else tuple(words)
    if any(_value_in(part) is not None for word in joined for part in _parts(word)):
        return joined
    return (joined[0] + b" " + WHOLE,) if shell else (*joined, WHOLE)


def misplaced_in(line: bytes) -> Misplaced | None:
    """The first replacement string for the value that stands where a shell would run what is in the value."""

    def part_at(line: bytes, at: int) -> tuple[bytes, bool]:
        match = _STRINGS.match(line, at)
        return (b"", False) if match is None else (match.group(), _value_in(match.group()) is not None)

    return misplaced(line, part_at)


def has_strings(word: bytes) -> bool:
    """Whether a replacement string is in it."""
    return _STRINGS.search(word) is not None


def _parts(word: bytes) -> list[bytes]:
    """The word, cut into replacement strings and what is between them."""
    found, begin = [], 0
    for match in _STRINGS.finditer(word):
        found += [word[begin : match.start()], match.group()]
        begin = match.end()
    return [part for part in (*found, word[begin:]) if part]


def _quoted(value: bytes) -> bytes:
    """As one word for sh(1)."""
    return value if _HARMLESS.match(value) else b"'" + value.replace(b"'", b"'\"'\"'") + b"'"
