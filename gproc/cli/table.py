"""Tables for people, and for awk: columns as wide as they must be and no wider."""

from __future__ import annotations

from collections.abc import Sequence

from gproc.shown import shown_text


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """The lines of a table, the head first; the columns named in `right` stand on their right edge."""
    lines = [head, *([shown_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, head, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def bytes_text(count: float) -> str:
    """A size as ls -h gives it."""
    for unit in ("B", "K", "M", "G"):
        if count < 1000 or unit == "G":
            return f"{count:.0f}{unit}" if unit == "B" or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    raise AssertionError
