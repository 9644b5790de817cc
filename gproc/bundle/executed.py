"""The programs that a script of shell runs, by its text: the first words of its commands.  Pure.

Nothing is executed.  A word that names no program is none, so a text that is not understood does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gproc.bundle import prefixes

COMMANDS_MAX: Final = 1000
"""Of one script."""

_NAME_MAX: Final = 1000

_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_HERE_DOCUMENT: Final = re.compile(r"<<-?[ \t]*[\"'\\]?(\w+)[\"']?(.*)\n(?:.*\n)*?[ \t]*\1$", re.MULTILINE)
_SUBSTITUTED: Final = re.compile(r"(?:\$\(|`)\s*([\w./+-]+)")
_QUOTE: Final = re.compile("[\"']")
_DEPTH_MAX: Final = 4


def commands_in(text: str) -> list[list[str]]:
    """The words of simple commands, in the order of the text, those in substitutions last."""
    found: list[list[str]] = []
    text = text.partition("\0")[0]  # an archive behind the script, as of makeself
    plain = _COMMENT.sub("", _HERE_DOCUMENT.sub(r"\2", text)).replace("\\\n", " ")
    for line in plain.splitlines():
        # A quotation that goes on in the next line: what is before it.
        for words in list(prefixes.in_shell_line(line)) or list(prefixes.in_shell_line(_QUOTE.split(line)[0])):
            found += _with_inner(words, 0)
    found += [[match[1]] for match in _SUBSTITUTED.finditer(plain) if not prefixes.is_builtin(match[1])]
    return [words for words in found if len(words[0]) <= _NAME_MAX][:COMMANDS_MAX]


def _with_inner(words: list[str], depth: int) -> Iterator[list[str]]:
    yield words
    if depth < _DEPTH_MAX:
        for inner in prefixes.commands(words):
            yield from _with_inner(inner, depth + 1)
