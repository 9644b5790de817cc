"""The width of a stream, and whether it has colours: for tables and help pages."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

DEFAULT_COLUMNS: Final = 80
LEAST_COLUMNS: Final = 20
"""Narrower terminals are treated as if they were this wide: fewer columns do not hold a word."""

_BOLD: Final = "\x1b[1m"
PLAIN: Final = "\x1b[0m"

LABEL_COLOURS: Final = tuple(f"\x1b[{code}m" for code in (36, 33, 32, 35, 34, 31))
"""The colours of labels, so that neighbours differ: cyan, yellow, green, magenta, blue, red."""


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def can_redraw(stream: TextIO) -> bool:
    """Whether it is a terminal on which a line can be cleared and written again; Emacs' shell-mode has a dumb one."""
    return is_terminal(stream) and os.environ.get("TERM", "") not in ("", "dumb")


def has_colour(stream: TextIO) -> bool:
    """NO_COLOR (no-color.org) forbids colours, FORCE_COLOR (force-color.org) wants them; else terminals have them."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return can_redraw(stream)


def columns(stream: TextIO) -> int | None:
    """The width to fill: COLUMNS if it is set, else that of the terminal; None if the stream is no terminal."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said[:9]) > 0:
        return max(LEAST_COLUMNS, int(said[:9]))
    if not is_terminal(stream):
        return None
    try:
        return max(LEAST_COLUMNS, os.get_terminal_size(stream.fileno()).columns or DEFAULT_COLUMNS)
    except OSError:
        return DEFAULT_COLUMNS


def line_of(text: str) -> str:
    """The bytes that show this in the terminal's last line, cut to its width, instead of what is there."""
    return f"\r{text[: (columns(sys.stderr) or DEFAULT_COLUMNS) - 1]}\x1b[K"


def draw_line(text: str) -> None:
    """Show this in the terminal's last line, on standard error, instead of what is there; cut to the width."""
    sys.stderr.write(line_of(text))
    sys.stderr.flush()


def clear_line() -> None:
    """Clear what `draw_line` shows."""
    draw_line("")


def bold(text: str, *, coloured: bool) -> str:
    return f"{_BOLD}{text}{PLAIN}" if coloured and text else text
