"""Starts the static helper (`gproc/native`) and reads its reports: the slave's ends of one job's pipes.

posix_spawn(3) starts the helper, because that shares the slave's memory until the helper executes: forking the slave
costs three times as much.  The helper has the job's three descriptors and two pipes.  Down one of them come the plan
and the orders; if the slave's end of it is closed, even by the slave's death, the job ends.  Up the other go reports;
it is a socket if a handle for the job's working directory is wanted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from typing import Final, Union

import msgspec

from gproc import native
from gproc.descriptors import close_aside
from gproc.launch.operations import STAGES

_BEGUN: Final = 1
_ENDED: Final = 2
_HELD: Final = 4
"""Kinds of report.  A failure is the third kind: `native/report.c`."""

_REPORT: Final = struct.Struct("<BBBBiI")
_REPORTS_BYTES_MAX: Final = 4096
"""The most bytes of all reports of a job: there are two, and the longer one has less than 1 KB."""

_ORDER: Final = struct.Struct("<IIQ")
_SEND_SIGNAL: Final = 1
_PROLONG_LEASE: Final = 2

_PIPE_BYTES_MAX: Final = 1 << 20
"""/proc/sys/fs/pipe-max-size, which does not bind root."""

_AT_ONCE_BYTES: Final = 4096
"""The capacity of the smallest pipe, pipe(7): a user who has many pipes gets no larger ones."""

_FIRST_FREE: Final = 10
"""The helper's own descriptors are 0 to 4.  A descriptor of ours that is among these is moved to a higher number."""


class Begun(msgspec.Struct, frozen=True):
    """Process 1 of the job's PID namespace, a child of ours."""

    pid: int


class Ended(msgspec.Struct, frozen=True):
    """The program has ended.  status: as of wait(2).  cause: 0 if it ended by itself, else as in `native/report.h`.

    left: whether it has left files of its own in its working directory.
    """

    status: int
    cause: int
    left: bool = False


class Failed(msgspec.Struct, frozen=True):
    """The program never ran."""

    stage: str
    errno: int
    message: str


Report = Union[Begun, Ended, Failed]  # noqa: UP007 - msgspec's convention here


class Helper:
    """One started helper.  pid: of the job's first process, which is our child, so we wait for it."""

    def __init__(self, pid: int, orders: int, reports: int, *, holds: bool = False) -> None:
        """holds: whether the reports come by a socket, because a handle comes too."""
        self.pid = pid
        self.directory = -1
        """A handle for the directory in which the program began; -1 if there is none, or if it was taken."""
        self._holds = holds
        self._orders = orders
        self._reports = reports
        self._unheard: list[Report] = []

    def begun(self) -> Begun | Failed | None:
        """The helper's reports before it ended.  Process 1 runs by then, and may have reported its end already."""
        self._read()
        first = next((report for report in self._unheard if isinstance(report, Begun)), None)
        if first is None:
            return next((report for report in self._unheard if isinstance(report, Failed)), None)
        self._unheard.remove(first)
        return first

    def ending(self) -> Ended | Failed | None:
        """How the job ended, once its first process is dead; None if that process was killed."""
        self._read()
        return next((report for report in self._unheard if not isinstance(report, Begun)), None)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not self._holds:
                self._unheard += _reports(os.read(self._reports, _REPORTS_BYTES_MAX))
                return
            # Bytes that come with a descriptor are not read together with bytes behind them: unix(7).
            while told := self._received():
                self._unheard += _reports(told)

    def _received(self) -> bytes:
        import socket

        with socket.socket(fileno=os.dup(self._reports)) as reports:
            told, handles, _, _ = socket.recv_fds(reports, _REPORTS_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
        for handle in handles:
            if self.directory >= 0:
                os.close(self.directory)
            self.directory = handle
        return told

    def take_directory(self) -> int:
        """`directory`, which the caller closes."""
        directory, self.directory = self.directory, -1
        return directory

    def signal(self, signum: int) -> bool:
        """Order the helper to send it to every process of the job.  Returns whether the helper could take the order."""
        return self.order(_SEND_SIGNAL, signum, 0)

    def prolong(self, until_ns: int) -> None:
        """Extend the job's lease to this moment of CLOCK_BOOTTIME."""
        self.order(_PROLONG_LEASE, 0, until_ns)

    def abandon(self) -> None:
        """Close the pipe of orders: the job ends, as if the slave were dead."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def close(self) -> None:
        self.abandon()
        os.close(self._reports)
        if self.directory >= 0:
            close_aside(self.take_directory())

    def order(self, kind: int, signum: int, until_ns: int) -> bool:
        """Send an order.  Returns whether the helper's pipe took it."""
        os.set_blocking(self._orders, False)
        try:
            os.write(self._orders, _ORDER.pack(kind, signum, until_ns))
        except (BrokenPipeError, BlockingIOError):
            # The helper has ended; or its pipe is full of orders, so it is stopped.
            return False
        return True


def start(plan: bytes, stdio: tuple[int, int, int], *, holds: bool = False) -> Helper:
    """Start a helper with a plan.  The three descriptors stay ours.  The helper of a plain job is the job's shim.

    holds: whether the plan has a HOLD.

    Raises: OSError if no process or no descriptor can be made.
    """
    orders, ours = os.pipe2(os.O_CLOEXEC)
    opened = [ours, orders]
    try:
        reports, theirs = _socket_pair() if holds else os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        opened = [ours, reports, orders, theirs]
        sources = [*stdio, orders, theirs]
        for index, handle in enumerate(sources):
            if handle < _FIRST_FREE:
                sources[index] = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
                opened.append(sources[index])
        moves = [(os.POSIX_SPAWN_DUP2, handle, number) for number, handle in enumerate(sources)]
        os.write(ours, plan[:_AT_ONCE_BYTES])
        pid = os.posix_spawn(native.HELPER, (native.HELPER, "init"), {}, file_actions=moves)
    except BaseException:
        _close(opened)
        raise
    _close(opened[2:])
    if len(plan) > _AT_ONCE_BYTES:
        _widen(ours, len(plan))
        _write_rest(ours, plan)
    return Helper(pid, ours, reports, holds=holds)


def start_private(plan: bytes, stdio: tuple[int, int, int], *, holds: bool = False) -> Helper | Failed:
    """The same for a job with namespaces: the helper makes the job's first process and ends at once.

    This function waits some 0.2 ms for the helper's end.  Raises: OSError.
    """
    helper = start(plan, stdio, holds=holds)
    _, status = os.waitpid(helper.pid, 0)
    report = helper.begun()
    if isinstance(report, Begun):
        helper.pid = report.pid
        return helper
    helper.close()
    if report is not None:
        return report
    return Failed("launcher", errno.EPIPE, f"{os.fsdecode(native.HELPER)} ended at once (wait status {status:#x})")


def _socket_pair() -> tuple[int, int]:
    import socket

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours.detach(), theirs.detach()


def _widen(pipe: int, size: int) -> None:
    """Let a pipe hold a whole plan, if it can: else the slave waits here until the helper has read the most of it."""
    for wanted in (size, _PIPE_BYTES_MAX):
        with contextlib.suppress(OSError):
            if fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, wanted) >= wanted:
                return


def _write_rest(ours: int, plan: bytes) -> None:
    """Write all of it.  The helper reads at once; if it is dead, its end is reported anyway."""
    written = _AT_ONCE_BYTES
    with contextlib.suppress(BrokenPipeError):
        while written < len(plan):
            written += os.write(ours, memoryview(plan)[written:])


def _reports(told: bytes) -> Iterator[Report]:
    """The reports in these bytes.  Each is complete, because one write made it."""
    while told:
        kind, stage, cause, left, value, texts_bytes = _REPORT.unpack_from(told)
        texts, told = told[_REPORT.size : _REPORT.size + texts_bytes], told[_REPORT.size + texts_bytes :]
        if kind == _BEGUN:
            yield Begun(value)
        elif kind == _ENDED:
            yield Ended(value, cause, bool(left))
        elif kind != _HELD:
            yield _failed(stage, value, texts)


def _failed(stage: int, code: int, texts: bytes) -> Failed:
    words, subject = (os.fsdecode(text) for text in texts.split(b"\0")[:2])
    reason = words or os.strerror(code)
    return Failed(STAGES[stage], code, f"{subject}: {reason}" if subject else reason)


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)


KILLED: Final = Ended(signal.SIGKILL, 0)
"""The end of a job whose first process was killed."""
