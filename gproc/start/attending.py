"""A slave for whose end a process waits: the one that started it, such as a step of Slurm, lives only as long as the
slave."""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping
from typing import Final

ATTENDED: Final = "GPROC_ATTENDED"
"""In a slave's environment: a FIFO whose reader waits until the slave has ended."""


def attend(environ: MutableMapping[str, str]) -> None:
    """Keep the FIFO open as long as this process lives."""
    if path := environ.pop(ATTENDED, ""):
        with contextlib.suppress(OSError):
            os.open(path, os.O_WRONLY | os.O_CLOEXEC)
