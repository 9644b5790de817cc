"""Signals end a wait at once.

Python calls a signal's handler between two of its own steps.  If the signal comes after the last step before poll(2)
and before the kernel begins to wait, nothing would happen until something else ends the wait: Ctrl-C at a silent job.
"""

from __future__ import annotations

import contextlib
import os
import signal


class SignalPipe:
    """In a `with` block, each signal that has a handler makes `handle` readable."""

    def __init__(self) -> None:
        self.handle, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> None:
        self._former = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._former)
        os.close(self.handle)
        os.close(self._writer)

    def empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.handle, 4096)
