"""Descriptors 0 to 2, and how many files a process may have open."""

from __future__ import annotations

import os
import resource
import sys


def allow_all() -> None:
    """Raise the soft limit of open files to the hard one: a connection takes two descriptors, a job some ten.

    The soft limit of 1,024 is for programs that use select(2).  Jobs are given their caller's: `launch.program`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_standard_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that our caller has closed (`gproc e ... >&-`).

    The kernel gives out the lowest free number.  Without this, the next socket or file would become descriptor 1, and
    would get the bytes for standard output: a program's output would reach the master as requests of its caller.
    """
    opened = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    while opened <= 2:
        os.set_inheritable(opened, True)
        opened = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.close(opened)
    # Python leaves these None if the descriptor was closed at its own start.
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", errors="backslashreplace", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)


def close_aside(handle: int) -> None:
    """Close it in a thread: if it is the last of a file system in memory, the kernel frees all of that meanwhile.

    Measured: 0.85 s for a gigabyte, in which an event loop would stand still.
    """
    import threading  # few callers have such a handle

    threading.Thread(target=os.close, args=(handle,), daemon=True).start()
