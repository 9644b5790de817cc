"""Ctrl-Z at a command stops its job and then the command itself; fg, bg and SIGCONT continue both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from gproc.client.terminal import LentTerminal

TOLD_WITHIN_S: Final = 2.0
"""Seconds for which a command that is to stop tries to tell the master first."""


class Suspendable(Protocol):
    """A job in the foreground."""

    @property
    def can_be_told(self) -> bool:
        """Whether the master has taken the job, and nothing is being written to it just now."""

    def tell(self, signum: int, until_s: float) -> None:
        """Send a signal to the job, before this moment of time.monotonic() if that is possible."""

    def tidy(self) -> None:
        """Clear the progress bar: the shell's prompt comes next."""

    def resumed(self) -> None:
        """The terminal may have another size now."""


class Suspending:
    """Handles SIGTSTP and SIGCONT in a `with` block."""

    def __init__(self, job: Suspendable, lent: LentTerminal | None) -> None:
        self._job = job
        self._lent = lent
        self._due: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        # A command that was told to ignore Ctrl-Z, as by `trap "" TSTP`, does.
        self._handles = signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL
        if self._handles:
            signal.signal(signal.SIGTSTP, self._on_signal)
            signal.signal(signal.SIGCONT, self._on_signal)

    def __exit__(self, *_: object) -> None:
        if self._handles:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def act(self) -> None:
        """Do what is due, if it can be done now.  Called again when the master may have taken the job."""
        while self._due and self._job.can_be_told:
            self._due.pop(0)()

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        # It may have interrupted a write to a reader that is stopped as well.  So it cannot wait for `act`.
        self._due.append(self._stop if signum == signal.SIGTSTP else self._go_on)
        self.act()

    def _stop(self) -> None:
        self._job.tell(signal.SIGTSTP, time.monotonic() + TOLD_WITHIN_S)
        self._job.tidy()
        if self._lent is not None:
            self._lent.give_back()
        self._stop_this_process()

    def _stop_this_process(self) -> None:
        """Returns when it is continued; then the handler is called for SIGCONT."""
        former = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCONT,))
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        if signal.SIGCONT not in signal.sigpending():
            # We were not stopped: in an orphaned process group the kernel discards SIGTSTP.
            os.kill(os.getpid(), signal.SIGSTOP)
        signal.signal(signal.SIGTSTP, self._on_signal)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _go_on(self) -> None:
        if self._lent is not None:
            if not self._lent.is_ours:
                # In the background it cannot have the terminal: as any program that reads from it there, it stops.
                self._stop_this_process()
                return
            self._lent.lend()
        self._job.tell(signal.SIGCONT, time.monotonic() + TOLD_WITHIN_S)
        self._job.resumed()
