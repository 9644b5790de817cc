"""The static helper (`gproc/native`) started, and what it tells: the slave's ends of one job's pipes.

The helper is started by posix_spawn(3), which shares the slave's memory until it executes: to fork the slave itself
costs three times as much.  It has the job's three descriptors and two pipes, one for each direction: when the slave's
end of the one with plan and orders is closed, even by the slave's death, the job ends.
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
from gproc.launch.operations import STAGES

_BEGUN: Final = 1
_ENDED: Final = 2
"""Kinds of report, and a failure is the third: `native/report.c`."""

_REPORT: Final = struct.Struct("<BBBxiI")
_REPORTS_BYTES_MAX: Final = 4096
"""There are two, and the longer one has less than 1 KB."""

_ORDER: Final = struct.Struct("<IIQ")
_SEND_SIGNAL: Final = 1
_PROLONG_LEASE: Final = 2

_AT_ONCE_BYTES: Final = 4096
"""What every pipe takes before anybody reads: pipe(7); a user with many of them gets no larger ones."""

_FIRST_FREE: Final = 10
"""Descriptors below are made in the helper: 0 to 4; one that is moved must not lie among them."""


class Begun(msgspec.Struct, frozen=True):
    """Process 1 of the job's PID namespace, a child of ours."""

    pid: int


class Ended(msgspec.Struct, frozen=True):
    """status: as wait(2) tells it.  cause: 0 if the program ended by itself; `native/report.h`."""

    status: int
    cause: int


class Failed(msgspec.Struct, frozen=True):
    """The program never ran."""

    stage: str
    errno: int
    message: str


Report = Union[Begun, Ended, Failed]  # noqa: UP007 - msgspec's convention here


class Helper:
    """One started helper.  pid: of the job's first process, a child of ours that is waited for by its `pid`."""

    def __init__(self, pid: int, orders: int, reports: int) -> None:
        self.pid = pid
        self._orders = orders
        self._reports = reports
        self._unheard: list[Report] = []

    def begun(self) -> Begun | Failed | None:
        """What the helper told before it ended; process 1, which has begun then, may have told its end already."""
        self._read()
        first = next((report for report in self._unheard if isinstance(report, Begun)), None)
        if first is None:
            return next((report for report in self._unheard if isinstance(report, Failed)), None)
        self._unheard.remove(first)
        return first

    def ending(self) -> Ended | Failed | None:
        """What became of the job, once its first process is dead; None where that one was killed."""
        self._read()
        return next((report for report in self._unheard if not isinstance(report, Begun)), None)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._unheard += _reports(os.read(self._reports, _REPORTS_BYTES_MAX))

    def signal(self, signum: int) -> bool:
        """Have it sent to every process of the job; whether the helper is there to do so."""
        return self.order(_SEND_SIGNAL, signum, 0)

    def prolong(self, until_ns: int) -> None:
        """The job's lease lasts until that moment of CLOCK_BOOTTIME."""
        self.order(_PROLONG_LEASE, 0, until_ns)

    def abandon(self) -> None:
        """Nothing more will be said: the job ends, as if the slave were dead."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def close(self) -> None:
        self.abandon()
        os.close(self._reports)

    def order(self, kind: int, signum: int, until_ns: int) -> bool:
        """Whether it was taken."""
        os.set_blocking(self._orders, False)
        try:
            os.write(self._orders, _ORDER.pack(kind, signum, until_ns))
        except (BrokenPipeError, BlockingIOError):
            # It has ended, or its pipe is full of orders: it stands still.
            return False
        return True


def start(plan: bytes, stdio: tuple[int, int, int]) -> Helper:
    """Hand over a plan; the three descriptors stay ours.  A plain job's helper is its shim.

    Raises: OSError where there is no process or no descriptor to be had.
    """
    orders, ours = os.pipe2(os.O_CLOEXEC)
    opened = [ours, orders]
    try:
        reports, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
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
        _write_rest(ours, plan)
    return Helper(pid, ours, reports)


def start_private(plan: bytes, stdio: tuple[int, int, int]) -> Helper | Failed:
    """The same for a job with namespaces: its first process is made by the helper, which then ends at once.

    It is waited for, some 0.2 ms.  Raises: OSError.
    """
    helper = start(plan, stdio)
    _, status = os.waitpid(helper.pid, 0)
    report = helper.begun()
    if isinstance(report, Begun):
        helper.pid = report.pid
        return helper
    helper.close()
    if report is not None:
        return report
    return Failed("launcher", errno.EPIPE, f"{os.fsdecode(native.HELPER)} ended at once (wait status {status:#x})")


def _write_rest(ours: int, plan: bytes) -> None:
    """The helper reads at once; if it is dead, its end tells."""
    written = _AT_ONCE_BYTES
    with contextlib.suppress(BrokenPipeError):
        while written < len(plan):
            written += os.write(ours, memoryview(plan)[written:])


def _reports(told: bytes) -> Iterator[Report]:
    """Whole ones: each was written at once."""
    while told:
        kind, stage, cause, value, texts_bytes = _REPORT.unpack_from(told)
        texts, told = told[_REPORT.size : _REPORT.size + texts_bytes], told[_REPORT.size + texts_bytes :]
        if kind == _BEGUN:
            yield Begun(value)
        elif kind == _ENDED:
            yield Ended(value, cause)
        else:
            yield _failed(stage, value, texts)


def _failed(stage: int, code: int, texts: bytes) -> Failed:
    words, subject = (os.fsdecode(text) for text in texts.split(b"\0")[:2])
    reason = words or os.strerror(code)
    return Failed(STAGES[stage], code, f"{subject}: {reason}" if subject else reason)


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)


KILLED: Final = Ended(signal.SIGKILL, 0)
"""What a job that was killed together with its first process has come to."""
