"""Descriptors 0 to 2, how many files a process may have open, and how much a pipe holds."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import resource
import select
import stat
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIPE_BYTES: Final = 64 << 10
"""Capacity of a new pipe: pipe(7)."""

OUTPUTS: Final = (1, 2)
"""What a command prints may go to a file there, which is nothing that its program reads."""

_WRITERS_END_MS: Final = 200
"""`cat x.sh | gproc e . sh` waits so long for the script's end.  With `<<END` the shell has written it before."""


def allow_all() -> None:
    """Raise the soft limit of open files to the hard one: a connection takes two descriptors, a job some ten.

    The soft limit of 1,024 is for programs that use select(2).  Jobs are given their caller's: `launch.program`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def widen(pipe: int, wanted_bytes: int) -> None:
    """Give a program that reads or writes much a larger pipe: it halves the cost of each megabyte."""
    # A user may have 64 MiB of such pipes, pipe(7).  Beyond that, and if it is no pipe, it keeps its size.
    with contextlib.suppress(OSError):
        if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) < wanted_bytes:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, wanted_bytes)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it to one that waits until there is room.

    Raises: OSError, when part of it may be written: a disk that is nearly full takes some, and says so the next time.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def outputs() -> frozenset[tuple[int, int]]:
    """Device and inode of what our standard output and error are."""
    found = set()
    for descriptor in OUTPUTS:
        with contextlib.suppress(OSError):
            status = os.fstat(descriptor)
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def name_of(descriptor: int) -> str:
    """The path of the regular file that a descriptor is, if it still has that name; else ""."""
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        here, there = os.fstat(descriptor), os.stat(path)
    except (OSError, ValueError):
        return ""
    return path if stat.S_ISREG(here.st_mode) and os.path.samestat(here, there) else ""


def may_be_text(descriptor: int | None) -> bool:
    """Whether `peeked` may find something: at a terminal, or at /dev/null, it never does."""
    if descriptor is None:
        return False
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def peeked(descriptor: int, most: int) -> bytes:
    """What a program would read from a file, or from a pipe that nobody writes to any more; nothing is taken from it.

    b"" for all else: what is still to come is not known.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return os.pread(descriptor, most, os.lseek(descriptor, 0, os.SEEK_CUR))
        return _in_pipe(descriptor, most) if stat.S_ISFIFO(mode) else b""
    except OSError:
        return b""


def _in_pipe(descriptor: int, most: int) -> bytes:
    poll = select.poll()
    poll.register(descriptor, 0)  # without writers: POLLHUP is told whether it was asked for or not
    if not any(event & select.POLLHUP for _, event in poll.poll(_WRITERS_END_MS)):
        return b""
    import ctypes  # 5 ms

    into, out_of = os.pipe()
    try:
        count = ctypes.CDLL(None).tee(descriptor, out_of, ctypes.c_size_t(min(most, PIPE_BYTES)), 0)
        return os.read(into, count) if count > 0 else b""
    finally:
        os.close(into)
        os.close(out_of)


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
    if sys.stdout is sys.__stdout__:  # else our caller has put another one there
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr)


class _Output(io.FileIO):
    """Standard output.  An error says that it is the one that cannot be written: the system's own names no file."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it, also if another process has made the descriptor non-blocking.  Raises: OSError."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            try:
                written = super().write(view[done:])
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OSError(error.errno, f"cannot write stdout: {error.strerror}") from error
            if written is None:
                await_writable(self.fileno())
            else:
                done += written
        return len(view)


class _Messages(_Output):
    """Standard error.  A message that cannot be written (a full disk, a reader that is gone) is lost, and no more.

    Python would raise an error there, in the middle of something else, and end with a status 1 that looks like the
    program's.
    """

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _text(raw: io.FileIO, like: TextIO | None) -> TextIO:
    """A text stream as Python makes them.  like: the one that Python has made; None if there was no descriptor."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", None),
        errors=getattr(like, "errors", "backslashreplace"),
        # With PYTHONUNBUFFERED it writes through, but to a buffer here.
        line_buffering=getattr(like, "line_buffering", False) or getattr(like, "write_through", False),
    )


def await_writable(descriptor: int) -> None:
    """Wait until a descriptor that another process has made non-blocking takes more."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    waiting.poll()


def close_aside(handle: int) -> None:
    """Close it in a thread: if it is the last of a file system in memory, the kernel frees all of that meanwhile.

    Measured: 0.85 s for a gigabyte, in which an event loop would stand still.
    """
    import threading  # few callers have such a handle

    threading.Thread(target=os.close, args=(handle,), daemon=True).start()
