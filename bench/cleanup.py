"""What is made for a measurement is removed after it, also after ^C and SIGTERM."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal that stops us waits until the context is left: nothing is removed by half."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def temporary_directory() -> Iterator[str]:
    """A new directory, removed at the end of `with`; unlike tempfile's, it is removed whole if a signal comes then."""
    place = tempfile.mkdtemp(prefix="gproc-bench-")
    try:
        yield place
    finally:
        with uninterrupted():
            shutil.rmtree(place, ignore_errors=True)
