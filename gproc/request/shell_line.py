"""Where in a line for a shell a quoted value is no longer one word.  Pure.

A value is quoted as `'...'` (`gproc.request.template`).  The line may put it where these quotes mean something else, so
that the shell would run what is in the value.  POSIX.1-2017, Shell Command Language, 2.2 and 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

_QUOTES: Final = "in quotes"
_ARITHMETIC: Final = "in arithmetic"
_WHERE: Final = {
    b"'": _QUOTES, b'"': _QUOTES, b"$'": _QUOTES, b"`": "in backquotes ($(...) is possible)", b"+": _ARITHMETIC,
    b"[": _ARITHMETIC,
}  # fmt: skip
_BEFORE_WORDS: Final = b" \t\n;&|()"
_BEGINS_COMMAND: Final = re.compile(rb"(?:^|[\n;&|({!]|\b(?:if|then|elif|else|while|until|do))[ \t]*\Z")

_NEAR: Final = 16
"""Bytes before a command in which it shows that it begins one."""


class Misplaced(NamedTuple):
    """A part of a line.  where: in words."""

    part: bytes
    where: str


def misplaced(line: bytes, part_at: Callable[[bytes, int], tuple[bytes, bool]]) -> Misplaced | None:
    """The first part of the line that is for a value and stands where the shell would not take the value as one word.

    part_at: the part that begins at a position, b"" if none does, and whether it stands for a value.
    """
    # Not every shell knows $'...', in which a backslash counts.
    return _Reader(line, part_at, knows_dollar_quotes=False).read() or _Reader(
        line, part_at, knows_dollar_quotes=True
    ).read()


class _Reader:
    def __init__(
        self, line: bytes, part_at: Callable[[bytes, int], tuple[bytes, bool]], *, knows_dollar_quotes: bool
    ) -> None:
        self._line = line
        self._part_at = part_at
        self._knows_dollar_quotes = knows_dollar_quotes
        self._opened: list[bytes] = []
        """What is open here: quotes by their mark; "(" is a line of its own, "+" is arithmetic in "((", "[" in "$["."""
        self._here = self._heard = False

    def read(self) -> Misplaced | None:
        at = 0
        while at < len(self._line):
            part, is_value = self._part_at(self._line, at)
            if part:
                if is_value and (where := self._why(at)):
                    return Misplaced(part, where)
                at += len(part)
            elif self._is_comment(at):
                end = self._line.find(b"\n", at)
                end = len(self._line) if end < 0 else end
                if found := self._value_between(at, end):
                    return Misplaced(found, "in a comment")
                at = end
            else:
                if self._is_escape(at) and (after := self._part_at(self._line, at + 1)) and after[1]:
                    return Misplaced(after[0], "behind a backslash")
                at += self._step(at)
        return None

    @property
    def _inside(self) -> bytes:
        return self._opened[-1] if self._opened else b""

    def _why(self, at: int) -> str:
        if self._heard:
            return "in a here-document"
        if self._line[at - 1 : at] == b"$" and at:
            return "behind a $"
        return _WHERE.get(self._inside, "")

    def _is_escape(self, at: int) -> bool:
        return self._line[at : at + 1] == b"\\" and self._inside != b"'"

    def _is_comment(self, at: int) -> bool:
        is_line = self._inside in (b"", b"(", b"`")
        return is_line and self._line[at : at + 1] == b"#" and (at == 0 or self._line[at - 1] in _BEFORE_WORDS)

    def _value_between(self, begin: int, end: int) -> bytes:
        found = (self._part_at(self._line, at) for at in range(begin, end))
        return next((part for part, is_value in found if is_value), b"")

    def _step(self, at: int) -> int:
        """Take what is at this position.  Returns its length."""
        rest = self._line[at : at + 3]
        inside = self._inside
        if inside == b"'":
            return self._end(rest[:1] == b"'")
        if self._is_escape(at):
            return 2
        if inside == b"$'":
            return self._end(rest[:1] == b"'")
        if rest[:1] in (b'"', b"`"):
            return self._toggle(rest[:1])
        if rest == b"$((":
            self._opened += [b"+", b"+"]
            return 3
        if rest[:2] == b"$(":
            self._opened.append(b"(")
            return 2
        return 1 if inside == b'"' else self._step_outside(at, rest)

    def _step_outside(self, at: int, rest: bytes) -> int:
        inside = self._inside
        if rest[:2] == b"$'" and self._knows_dollar_quotes:
            self._opened.append(b"$'")
            return 2
        if rest[:2] == b"$[":
            self._opened.append(b"[")
            return 2
        if rest[:2] == b"((" and inside != b"+" and self._begins_command(at):
            self._opened += [b"+", b"+"]
            return 2
        if rest[:1] == b"'" or (rest[:1] == b"(" and inside != b"["):
            self._opened.append(b"+" if rest[:1] == b"(" and inside == b"+" else rest[:1])
        elif (rest[:1] == b")" and inside in (b"(", b"+")) or (rest[:1] == b"]" and inside == b"["):
            self._opened.pop()
        self._here = self._here or (rest[:2] == b"<<" and inside != b"+")
        self._heard = self._heard or (self._here and rest[:1] == b"\n")
        return 1

    def _begins_command(self, at: int) -> bool:
        return _BEGINS_COMMAND.search(self._line[max(0, at - _NEAR) : at]) is not None

    def _end(self, is_end: bool) -> int:
        if is_end:
            self._opened.pop()
        return 1

    def _toggle(self, mark: bytes) -> int:
        if self._inside == mark:
            self._opened.pop()
        else:
            self._opened.append(mark)
        return 1
