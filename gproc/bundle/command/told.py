"""Directories that a text or a command's words put into a search path: `LD_LIBRARY_PATH=$here/lib`, `PATH=tools:$PATH`,
`. venv/bin/activate`.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gproc.bundle.texts import named

SEARCH_PATHS: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PERL5LIB", "RUBYLIB", "NODE_PATH", "R_LIBS")
"""Lists of directories with colons between them."""

_ELEMENTS_MAX: Final = 200
_DEPTH: Final = 3
"""Of substitutions in substitutions: `$(cd "$(dirname "$0")" && pwd)/lib`."""

_SUBSTITUTION: Final = re.compile(r"\$\([^()\n]{0,200}\)")
_ASSIGNED: Final = re.compile(
    rf"(?<![\w$])({'|'.join(SEARCH_PATHS)})=(\"[^\"\n]{{1,1000}}\"|'[^'\n]{{1,1000}}'|[^\s\"';&|]{{1,1000}})"
)
_ACTIVATED: Final = re.compile(
    r"(?:^|[\s;&|])(?:source|\.)[ \t]+[\"']?([^\s\"';&|]{1,300})/bin/activate\b", re.MULTILINE
)
_COLON: Final = re.compile(r":(?![-=+?])")
_FROM: Final = re.compile(r"^(?:\$\{[^{}]*\}|\$\w+|`[^`]*`)")


def in_text(text: str) -> list[tuple[str, str]]:
    """Names of variables with directories as they are written: relative, absolute, or behind `$somewhere/`."""
    for _ in range(_DEPTH):
        text = _SUBSTITUTION.sub("$_", text)
    found = [(match[1], part) for match in _ASSIGNED.finditer(text) for part in _COLON.split(match[2].strip("\"'"))]
    found += [("PATH", f"{match[1]}/bin") for match in _ACTIVATED.finditer(text)]
    return [(name, part) for name, part in found[:_ELEMENTS_MAX] if part and f"${name}" not in part.replace("{", "")]


def in_words(words: Iterable[str]) -> list[tuple[str, str]]:
    """The same of words such as `LD_LIBRARY_PATH=lib`."""
    return [each for word in words if word.partition("=")[0] in SEARCH_PATHS for each in in_text(f"{word}\n")]


def places(written: str, bases: Sequence[str]) -> Iterator[str]:
    """The directories that it may be: below each base, if it begins with what only the text knows."""
    if written.startswith("/"):
        yield written
        return
    rest = _FROM.sub("", written, count=1)
    climbs = rest.startswith("/..")
    relative = named.relative(rest, "sh") if rest.startswith("/") else "" if rest != written else written
    for base in bases if relative or rest != written else ():
        yield f"{base.rstrip('/')}/{relative or '.'}" if not climbs else f"{base.rstrip('/')}{rest}"
