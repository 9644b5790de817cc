"""Help pages on a terminal of any width.

`gproc help e` must open at once, so only the tables are imported: with Typer it took four times as long.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from gproc.cli.modes import mode_named
from gproc.cli.pages import Page, Row, mode_page, root_page
from gproc.cli.style import DEFAULT_COLUMNS, bold, columns, has_colour

_INDENT = 2
_WIDEST = 100
"""Longer lines are hard to read, however wide the terminal is."""

_TERMS_WIDEST = 30
"""A longer term has its text on the next line."""


def show(mode_name: str) -> int:
    """Print the page of a mode, or of gproc itself if the name is empty."""
    mode = mode_named(mode_name)
    width = min(columns(sys.stdout) or DEFAULT_COLUMNS, _WIDEST)
    lines = render(mode_page(mode) if mode else root_page(), width, coloured=has_colour(sys.stdout))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def render(page: Page, width: int, *, coloured: bool = False) -> Iterator[str]:
    """The lines of a page, none longer than width unless a single word is."""
    head = f"Usage: {page.name} "
    usage = list(wrapped(page.usage, width - len(head)))
    yield bold("Usage:", coloured=coloured) + head.removeprefix("Usage:") + usage[0]
    yield from (" " * len(head) + line for line in usage[1:])
    for paragraph in (page.summary, *page.paragraphs):
        yield ""
        yield from wrapped(paragraph, width)
    for section in page.sections:
        yield ""
        yield bold(f"{section.title}:", coloured=coloured)
        yield from _rows(section.rows, width, coloured=coloured)
    if page.last:
        yield ""
        yield from wrapped(page.last, width)


def _rows(rows: tuple[Row, ...], width: int, *, coloured: bool) -> Iterator[str]:
    """Terms on the left, their meaning on the right."""
    most = min(_TERMS_WIDEST, width // 3)
    fitting = [len(row.term) for row in rows if len(row.term) <= most]
    left = _INDENT + max(fitting, default=most) + 2
    for row in rows:
        first, *rest = wrapped(row.text, width - left)
        terms = list(wrapped(row.term, width - _INDENT))
        shown = [" " * _INDENT + bold(term, coloured=coloured) for term in terms]
        if len(terms) == 1 and len(terms[0]) + _INDENT + 2 <= left:
            yield shown[0] + " " * (left - _INDENT - len(terms[0])) + first
        else:
            yield from shown
            yield " " * left + first
        yield from (" " * left + line for line in rest)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of whole words.  (textwrap would import `re`.)"""
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
