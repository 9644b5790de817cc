"""The processes of one job on this node, as /proc has them: what each thread does, and where it is in the kernel.

Trust: only this node's own launcher says where to look.  A process counts if it descends from the job's first
process: in a PID namespace each does, and a shim is the parent of all orphans.  No file outside of /proc is opened.

A process may end and another one get its number while this looks.  So each process that a pass over /proc has found is
looked at again, from the top, through a handle of its directory, and counts if it began at the same moment as before.
Then it was there all the time, so the processes that name it as their parent mean this one.

The kernel shows its stack (proc_pid_stack(5)) to root alone, and to others in which of its functions a thread waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from gproc.launch import procstat
from gproc.launch.procstat import ProcessStat
from gproc.shown import shown
from gproc.wire.stacks import FRAME_CHARACTERS_MAX

PROCESSES_MAX: Final = 512
"""The limit of one job on one node.  A thread costs some 0.05 ms."""

THREADS_MAX: Final = 2048

LOOK_S: Final = 0.5
"""The most seconds that this looks, once it has a list of all processes: the job in question may keep the node busy."""

DEPTH_MAX: Final = 16
"""Programs that started one another, before a process that is shown."""

KERNEL_FRAMES_MAX: Final = 40

_READ_BYTES: Final = 16 << 10

_ENTRIES: Final = frozenset({
    "entry_SYSCALL_64_after_hwframe", "do_syscall_64", "x64_sys_call", "ret_from_fork_asm", "ret_from_fork",
    "el0t_64_sync", "el0t_64_sync_handler", "el0_svc", "do_el0_svc", "el0_svc_common.constprop.0", "invoke_syscall",
})  # fmt: skip
"""Outermost functions of the kernel, which every thread has."""


class ThreadSeen(NamedTuple):
    """state: the kernel's letter.  wchan: the kernel's function in which it waits; "" if the kernel does not say.

    kernel: its stack there, the outermost function first; () if it may not be read.
    inner: its number in the job's own PID namespace.
    """

    id: int
    inner: int
    name: str
    state: str
    wchan: str
    kernel: tuple[str, ...]


class ProcessSeen(NamedTuple):
    """above: the names of the job's programs that started it, the first one first.  began: in the kernel's ticks.

    left_out: threads that were not looked at.
    """

    pid: int
    name: str
    above: tuple[str, ...]
    uids: tuple[int, ...]
    is_python: bool
    began: int
    threads: tuple[ThreadSeen, ...]
    left_out: int = 0


class JobSeen(NamedTuple):
    """left_out: threads that were not looked at; 1 for each process of which none was."""

    processes: list[ProcessSeen]
    left_out: int


def seen_below(first: int) -> JobSeen:
    """All processes below this one, which is not shown itself.

    Those that end meanwhile are left out.
    """
    known = _all_stats()
    until_s = time.monotonic() + LOOK_S  # not before: on a busy node that list alone may take longer
    children: dict[int, list[int]] = {}
    for pid, stat in known.items():
        children.setdefault(stat.parent, []).append(pid)
    found: list[ProcessSeen] = []
    threads = left_out = 0
    waiting: list[tuple[int, tuple[str, ...]]] = [(first, ())]
    while waiting:
        pid, above = waiting.pop(0)
        if len(found) >= PROCESSES_MAX or threads >= THREADS_MAX or time.monotonic() > until_s:
            left_out += 1
            waiting += [(child, above) for child in children.pop(pid, ())]
            continue
        try:
            directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            now = procstat.parsed(_read_at(directory, "stat"))
            if now is None or pid not in known or now.began != known[pid].began:
                continue
            if pid != first:
                process = _process(directory, pid, now, above[:DEPTH_MAX], THREADS_MAX - threads)
                threads += len(process.threads)
                left_out += process.left_out
                found.append(process)
                above = (*above, process.name)
        finally:
            os.close(directory)
        waiting += [(child, above) for child in sorted(children.pop(pid, ()))]
    return JobSeen(found, left_out)


def is_still(process: ProcessSeen) -> bool:
    """Whether the number is still that of the same process."""
    stat = procstat.parsed(_read_at(None, f"/proc/{process.pid}/stat"))
    return stat is not None and stat.began == process.began


def _all_stats() -> dict[int, ProcessStat]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found = ((pid, procstat.parsed(_read_at(None, f"/proc/{pid}/stat"))) for pid in numbers)
    return {pid: stat for pid, stat in found if stat is not None}


def _process(directory: int, pid: int, stat: ProcessStat, above: tuple[str, ...], most: int) -> ProcessSeen:
    ids = () if stat.state == "Z" else _thread_ids(directory)
    threads = [thread for id in ids[:most] if (thread := _thread(directory, id)) is not None]
    if stat.state == "Z":
        threads = [ThreadSeen(pid, pid, _shown(stat.name), "Z", "", ())]
    uids = _numbers(_read_at(directory, "status"), b"Uid:")
    is_python = _executable(directory).startswith("python")
    left_out = len(ids[most:])
    return ProcessSeen(pid, _shown(stat.name), above, uids, is_python, stat.began, tuple(threads), left_out)


def _thread_ids(directory: int) -> Sequence[int]:
    try:
        handle = os.open("task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            return sorted(int(name) for name in os.listdir(handle) if name.isdigit())
        finally:
            os.close(handle)
    except OSError:
        return ()


def _thread(directory: int, id: int) -> ThreadSeen | None:
    """None if it has ended."""
    stat = procstat.parsed(_read_at(directory, f"task/{id}/stat"))
    if stat is None:
        return None
    wchan = _read_at(directory, f"task/{id}/wchan").decode(errors="replace").strip()
    kernel = _kernel_stack(_read_at(directory, f"task/{id}/stack")) if stat.state not in "RZXx" else ()
    wchan = "" if wchan == "0" else wchan[:FRAME_CHARACTERS_MAX]
    inner = _numbers(_read_at(directory, f"task/{id}/status"), b"NSpid:")[-1:]
    return ThreadSeen(id, inner[0] if inner else id, _shown(stat.name), stat.state, wchan, kernel)


def _shown(name: bytes) -> str:
    return shown(name)[:FRAME_CHARACTERS_MAX]


def _numbers(status: bytes, of: bytes) -> tuple[int, ...]:
    """The numbers of a line of proc_pid_status(5); the four of Uid are real, effective, saved and that for files."""
    line = next((each for each in status.splitlines() if each.startswith(of)), b"")
    return tuple(int(word) for word in line.split()[1:])


def _executable(directory: int) -> str:
    """The name of the file that it executes; "" if we may not know."""
    try:
        return os.path.basename(os.readlink("exe", dir_fd=directory))
    except OSError:
        return ""


def _kernel_stack(text: bytes) -> tuple[str, ...]:
    """Source: proc_pid_stack(5).  The kernel writes "[<0>] function+0x18/0x30", the innermost first."""
    names = [line.split()[-1].partition(b"+")[0].decode(errors="replace") for line in text.splitlines() if line.split()]
    inner = [name[:FRAME_CHARACTERS_MAX] for name in names if name not in _ENTRIES]
    return tuple(reversed(inner[:KERNEL_FRAMES_MAX]))


def _read_at(directory: int | None, path: str) -> bytes:
    """The first bytes of a file of /proc; b"" if it is gone, or not for us."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return b""
    try:
        return os.read(handle, _READ_BYTES)
    except OSError:
        return b""
    finally:
        os.close(handle)
