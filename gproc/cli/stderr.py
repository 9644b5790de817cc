"""What gproc itself has to say to its caller."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def complain(lines: Iterable[str]) -> None:
    """Each with the program's name in front, all in one write: what others write to the terminal stays outside."""
    sys.stderr.write("".join(f"gproc: {line}\n" for line in lines))
