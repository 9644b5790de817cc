"""Makes all tables: for people on a terminal of any width, and for programs in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from gproc.cli.style import bold, columns, has_colour, is_terminal
from gproc.shown import shown_text

_GAP: Final = "  "

_LEAST: Final = 8
"""No column that can be folded gets narrower than this."""

_BREAK_AFTER: Final = frozenset(" /-:,=.")
"""A cell is folded after one of these characters, if there is one in the line's second half."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """The lines of a table for standard output, the head first.

    On a terminal, columns are as wide as necessary, and long cells are folded.  right: the columns that are aligned on
    their right edge.  In a pipe, a tab separates the cells, and nothing is padded, folded or left out: cut(1), awk(1).
    """
    width = columns(sys.stdout) if is_terminal(sys.stdout) else None
    return render(head, rows, right=right, width=width, coloured=has_colour(sys.stdout))


def render(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    width: int | None,
    coloured: bool = False,
) -> str:
    """width: of the terminal; None if there is none."""
    # Nearly all lines are printable as they are, and 10,000 of them have 70,000 cells.
    lines = [line if "".join(line).isprintable() else [shown_text(cell) for cell in line] for line in rows]
    if width is None:
        body = ["\t".join(line) for line in lines]
        return "".join(f"{line}\n" for line in (bold("\t".join(head), coloured=coloured), *body))
    widths = fitted([max(map(len, column)) for column in zip(head, *lines, strict=True)], head, right, width)
    edges = [name in right for name in head]
    text = [bold(line, coloured=coloured) for line in _laid_out(head, widths, edges)]
    for cells in lines:
        text.extend(_laid_out(cells, widths, edges))
    return "".join(f"{line}\n" for line in text)


def fitted(widths: list[int], head: Sequence[str], right: Sequence[str], width: int) -> list[int]:
    """Widths that fit the terminal, if possible: the widest column that can be folded is made narrower first."""
    fitting = list(widths)
    least = [max(_LEAST, len(name)) for name in head]
    while sum(fitting) + len(_GAP) * (len(fitting) - 1) > width:
        foldable = [i for i, name in enumerate(head) if name not in right and fitting[i] > least[i]]
        if not foldable:
            break
        fitting[max(foldable, key=lambda i: fitting[i])] -= 1
    return fitting


def _laid_out(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    folded = [list(fold(cell, width)) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, folded))):
        parts = [lines[number] if number < len(lines) else "" for lines in folded]
        yield _GAP.join(
            part.rjust(width) if edge else part.ljust(width)
            for part, width, edge in zip(parts, widths, right, strict=True)
        ).rstrip()


def fold(cell: str, width: int) -> Iterator[str]:
    """Pieces of a cell, none longer than `width`.  Together they are the cell, except for blanks at their ends."""
    while len(cell) > width:
        cut = next((i for i in range(width, width // 2, -1) if cell[i - 1] in _BREAK_AFTER), width)
        yield cell[:cut].rstrip(" ")
        cell = cell[cut:]
    yield cell
