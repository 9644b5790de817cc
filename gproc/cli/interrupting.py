"""What signals to a command mean for its job: the first is passed on, the second kills, and a late one leaves the job.

A process that the kernel does not let die, as on a file system that does not answer, holds its job up for ever.
Whoever sits at the terminal must be able to go all the same.
"""

from __future__ import annotations

import signal
import time
from typing import Final

LATE_S: Final = 5.0
"""Seconds after the kill from which on another signal ends the command: within a second a killed job has ended."""


class Interrupts:
    """The signals that one command was sent."""

    def __init__(self) -> None:
        self._interrupted = False
        self._killed_s: float | None = None

    def heard(self, signum: int) -> int | None:
        """Which signal the job is to be sent; None: the command ends without its job."""
        if not self._interrupted:
            self._interrupted = True
            return signum
        if self._killed_s is None:
            self._killed_s = time.monotonic()
        return None if time.monotonic() - self._killed_s > LATE_S else signal.SIGKILL


def not_ended_text(job: int) -> str:
    """What a person is told then."""
    return (
        f"job {job} was killed and has not ended: the kernel may hold a process of it (`gproc stacks {job}` shows "
        "where); this command ends without it"
    )
