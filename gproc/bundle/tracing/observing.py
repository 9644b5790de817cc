"""Runs a program once and notes every file that it, and each process that it starts, executes, opens or looks up.

A file counts as it was when the run first touched it: what the run itself makes, changes or empties does not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gproc.bundle.tracing import ptrace
from gproc.bundle.tracing.observed import PATHS_MAX, Observed, is_nodes_own, is_secret
from gproc.content.paths import within

FILE_BYTES_MAX: Final = 100 << 20
"""A larger file is asked for by -f, as of the words of a command (`gproc.bundle.command.words`)."""

_ALL_THREADS: Final = 0x40000000  # __WALL, wait(2)
_AT_FDCWD: Final = -100
_STOPS: Final = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_DEEP_ENOUGH: Final = 3
"""Directories as near to the root as /usr/lib are on every node."""


class Observation(msgspec.Struct, frozen=True):
    """observed: what the run touched.  status: its exit status, 128+N after signal N."""

    observed: Observed
    status: int


def observe(program: str, argv: Sequence[str], environ: Mapping[str, str], descriptors: Sequence[int]) -> Observation:
    """Run a program to its end, in the present directory.  Processes that it leaves behind are killed, as in a job.

    descriptors: its 0, 1 and 2.
    No other child of this process may end meanwhile: its status would be lost.
    Raises: BundleError if the kernel forbids it.
    """
    notes = _Notes(time.time_ns(), environ.get("GPROC_HOME", ""))
    notes.executes(os.path.abspath(program))
    status = _follow(ptrace.start(argv, program, environ, descriptors), notes)
    return Observation(notes.observed(), status)


def _follow(first: int, notes: _Notes) -> int:
    """Until the first process has ended.  Returns its exit status."""
    living = {first}
    result = 0
    while living:
        try:
            pid, status = os.waitpid(-1, _ALL_THREADS)
        except ChildProcessError:
            break
        if not os.WIFSTOPPED(status):
            living.discard(pid)
            if pid == first:
                result = os.waitstatus_to_exitcode(status)
                for other in living:
                    _kill(other)
            continue
        living.add(pid)
        signum, event = os.WSTOPSIG(status), status >> 16
        if event == ptrace.EVENT_SECCOMP:
            if (stopped := ptrace.stopped_at(pid)) is not None:
                notes.calls(pid, stopped)
            ptrace.go_on(pid)
        elif event == ptrace.EVENT_STOP and signum in _STOPS:
            ptrace.stay(pid)
        else:
            ptrace.go_on(pid, 0 if event else signum)
    return result if result >= 0 else 128 - result


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class _Notes:
    """What was touched, by path.  began_ns: when the run began, in Unix time.  keys: where gproc's are, or ""."""

    def __init__(self, began_ns: int, keys: str) -> None:
        self._began_ns = began_ns
        self._keys = os.path.realpath(keys) if keys else ""
        self._seen: dict[str, int | None] = {}
        """The mode of each path when it was first touched; None if it does not count."""
        self._executed: dict[str, None] = {}
        self._left: dict[str, None] = {}

    def executes(self, path: str) -> None:
        if self._mode(path) is not None:
            self._executed[path] = None

    def calls(self, pid: int, stopped: ptrace.StoppedCall) -> None:
        """A process stands before this system call."""
        call, arguments = stopped
        text = ptrace.read_text(pid, arguments[call.path])
        if not text:
            return
        path = os.fsdecode(text)
        if not path.startswith("/"):
            base = _directory_of(pid, arguments[call.path - 1] if call.at else _AT_FDCWD)
            if base is None:
                return
            path = f"{base}/{path}"
        path = _tidy(path)
        if call.executes:
            self.executes(path)
            return
        if _flags_of(pid, stopped) & os.O_TRUNC:
            self._seen.setdefault(path, None)
        self._mode(path)

    def observed(self) -> Observed:
        files = [path for path, mode in self._seen.items() if mode is not None and stat.S_ISREG(mode)]
        # A directory with one of the files in it is there anyway.
        there = {parent for path in files for parent in _parents(path)}
        directories = [path for path, mode in self._seen.items() if mode is not None and stat.S_ISDIR(mode)]
        return Observed(
            _encoded(self._executed),
            _encoded(path for path in files if path not in self._executed),
            _encoded(path for path in directories if path not in there and path.count("/") >= _DEEP_ENOUGH),
            _encoded(self._left),
        )

    def _mode(self, path: str) -> int | None:
        if path not in self._seen:
            self._seen[path] = self._mode_now(path) if len(self._seen) < 2 * PATHS_MAX else None
        return self._seen[path]

    def _mode_now(self, path: str) -> int | None:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        real = os.path.realpath(path)
        if is_nodes_own(path) or is_nodes_own(real) or is_secret(path) or is_secret(real):
            return None
        if self._keys and within(real, self._keys):
            return None
        if not stat.S_ISREG(status.st_mode):
            return status.st_mode if stat.S_ISDIR(status.st_mode) else None
        if status.st_ctime_ns >= self._began_ns or not os.access(path, os.R_OK, effective_ids=True):
            return None
        if status.st_size > FILE_BYTES_MAX:
            self._left[path] = None
            return None
        return status.st_mode


def _directory_of(pid: int, descriptor: int) -> str | None:
    """The directory that a relative path begins at.  descriptor: as the register has it."""
    descriptor = (descriptor & 0xFFFFFFFF) - (1 << 32 if descriptor & 0x80000000 else 0)
    try:
        found = os.readlink(f"/proc/{pid}/cwd" if descriptor == _AT_FDCWD else f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return None
    return found if found.startswith("/") and not found.endswith(" (deleted)") else None


def _flags_of(pid: int, stopped: ptrace.StoppedCall) -> int:
    call, arguments = stopped
    if call.flags is None:
        return 0
    value = arguments[call.flags]
    if not call.indirect:
        return value & 0xFFFFFFFF
    return int.from_bytes(ptrace.read_memory(pid, value, 8) or b"", "little")


def _tidy(path: str) -> str:
    """Without empty parts and "."; ".." stays, because the part before it may be a link."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _encoded(paths: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(sorted(map(os.fsencode, paths)))
