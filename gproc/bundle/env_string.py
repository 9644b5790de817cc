"""The words that `env -S` makes of a string: quotes, escapes, ${NAME}, and # for the rest of the line.  Pure.

Source: GNU coreutils manual, 23.2 env, "-S/--split-string".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gproc.errors import BundleError

Variable = Callable[[str], str | None]

_ESCAPES: Final = {"f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {each: each for each in "#$\"'\\"}
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BLANKS: Final = " \t\n\v\f\r"


def split_string(text: str, script: str, variable: Variable) -> list[str]:
    """The words in a string.  script: for errors.  Raises: BundleError if env would refuse the string."""
    return _Splitter(text, script, variable).words()


class _Splitter:
    """One pass over one string."""

    def __init__(self, text: str, script: str, variable: Variable) -> None:
        self._text = text
        self._script = script
        self._variable = variable
        self._place = 0
        self._words: list[str] = []
        self._word: str | None = None
        self._quote = ""
        self._ended = False

    def words(self) -> list[str]:
        while self._place < len(self._text) and not self._ended:
            character = self._take()
            if character == "\\" and not self._keeps_backslash():
                self._escape(self._take())
            elif character == "$" and self._quote != "'":
                self._expand()
            elif self._quote:
                self._quoted(character)
            else:
                self._unquoted(character)
        if self._quote:
            raise self._bad(f"a string whose {self._quote} does not end")
        self._end_word()
        return self._words

    def _take(self) -> str:
        """The next character; "" at the end."""
        character = self._text[self._place : self._place + 1]
        self._place += 1
        return character

    def _keeps_backslash(self) -> bool:
        """Between single quotes, a backslash is an escape only before a quote or another backslash."""
        return self._quote == "'" and self._text[self._place : self._place + 1] not in ("'", "\\")

    def _escape(self, escaped: str) -> None:
        if escaped == "c" and not self._quote:
            self._ended = True
        elif escaped == "_" and not self._quote:
            self._end_word()
        elif escaped == "_":
            self._append(" ")
        elif escaped in _ESCAPES:
            self._append(_ESCAPES[escaped])
        else:
            raise self._bad(f"\\{escaped}, which env does not know")

    def _expand(self) -> None:
        reference = _REFERENCE.match(self._text, self._place - 1)
        if reference is None:
            raise self._bad("a $ that does not begin ${NAME}")
        value = self._variable(reference[1])
        if value is not None:
            self._append(value)
        self._place = reference.end()

    def _quoted(self, character: str) -> None:
        if character == self._quote:
            self._quote = ""
        else:
            self._append(character)

    def _unquoted(self, character: str) -> None:
        if character in "'\"":
            self._quote = character
            self._append("")
        elif character in _BLANKS:
            self._end_word()
        elif character == "#" and self._word is None:
            self._ended = True
        else:
            self._append(character)

    def _append(self, text: str) -> None:
        self._word = (self._word or "") + text

    def _end_word(self) -> None:
        if self._word is not None:
            self._words.append(self._word)
            self._word = None

    def _bad(self, what: str) -> BundleError:
        return BundleError(f"{self._script}: its #! line gives env -S {what}")
