"""Messages of gproc itself to its caller, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from gproc.shown import shown_text

ROWS: Final = "\n"


def complain(lines: Iterable[str]) -> None:
    """Write the lines, each after the program's name, in one write, so that no other output comes between.

    A line may have several rows.  Other characters that a terminal might obey are escaped.
    """
    sys.stderr.write("".join(f"gproc: {shown_text(line, keep=ROWS)}\n" for line in lines))
