"""What gproc itself has to say to its caller."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from gproc.shown import shown_text

ROWS: Final = "\n"


def complain(lines: Iterable[str]) -> None:
    """Write the lines, each with the program's name in front, in one write, so that no other output comes between.

    A line of ours may have more than one row; whatever else a terminal might obey is escaped.
    """
    sys.stderr.write("".join(f"gproc: {shown_text(line, keep=ROWS)}\n" for line in lines))
