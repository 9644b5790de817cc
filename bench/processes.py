"""The kernel's counters for other processes: memory and CPU time, from /proc (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

import msgspec

KIB: Final = 1024
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Memory(msgspec.Struct, frozen=True):
    """In bytes.  resident: VmRSS, which counts shared pages fully; peak: VmHWM, the highest VmRSS so far;
    proportional: Pss, which divides shared pages among their processes.
    """

    resident: int
    peak: int
    proportional: int


class CpuTime(msgspec.Struct, frozen=True):
    """In seconds, user and system together.  children: of children that have ended and were waited for."""

    own: float
    children: float

    def __sub__(self, before: CpuTime) -> CpuTime:
        return CpuTime(self.own - before.own, self.children - before.children)

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.own + other.own, self.children + other.children)


class MachineTime(msgspec.Struct, frozen=True):
    """Time of all processors since boot, in clock ticks, with the kernel's own work."""

    total: int
    idle: int

    def busy_since(self, before: MachineTime) -> float:
        """The share of the processors' time since `before` that was not idle."""
        total = self.total - before.total
        return 1 - (self.idle - before.idle) / total if total else 0.0


def machine_time() -> MachineTime:
    with open("/proc/stat") as file:
        # user, nice, system, idle, iowait, irq, softirq, steal; the guests' share is in user: proc(5)
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return MachineTime(sum(ticks), ticks[3] + ticks[4])


def loopback_bytes() -> int:
    """Bytes over this network namespace's loopback interface since it is up, with headers."""
    with open("/proc/self/net/dev") as file:
        return next(int(line.split()[1]) for line in file if line.split()[0] == "lo:")


def memory(pid: int) -> Memory:
    """Raises: ProcessLookupError if the process is gone."""
    status = _fields(pid, "status")
    shares = _fields(pid, "smaps_rollup")
    try:
        return Memory(status["VmRSS"] * KIB, status["VmHWM"] * KIB, shares["Pss"] * KIB)
    except KeyError as error:
        # A zombie has a status without memory.
        raise ProcessLookupError(pid) from error


def peak_bytes(pid: int) -> int:
    """The highest resident size so far.  Raises: ProcessLookupError if the process is gone."""
    status = _fields(pid, "status")
    if "VmHWM" not in status:
        raise ProcessLookupError(pid)
    return status["VmHWM"] * KIB


def forget_peak(pid: int) -> None:
    """Reset the peak to the present size."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def cpu_time(pid: int) -> CpuTime:
    """Own time by the scheduler's count in nanoseconds, that of children in clock ticks.

    Raises: ProcessLookupError if the process is gone.
    """
    try:
        own_ns = 0
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                own_ns += int(file.read().split()[0])
        with open(f"/proc/{pid}/stat") as file:
            # The third field follows the last ")" of the name; cutime and cstime are the 16th and 17th.
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error
    return CpuTime(own_ns / 1e9, (int(fields[13]) + int(fields[14])) / _TICKS_PER_S)


def variable(pid: int, name: str) -> str | None:
    """A variable of the environment that the process had when it last executed a program."""
    prefix = os.fsencode(name) + b"="
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            found = [item for item in file.read().split(b"\0") if item.startswith(prefix)]
    except OSError:
        return None
    return os.fsdecode(found[0][len(prefix) :]) if found else None


def with_variable(assignment: str) -> Iterator[int]:
    """The processes whose environment has this NAME=VALUE, with forked children that never executed a program."""
    wanted = os.fsencode(assignment)
    for name in os.listdir("/proc"):
        if name.isdigit():
            # Processes may end meanwhile, and those of other users cannot be read.
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    yield int(name)


def _fields(pid: int, file: str) -> dict[str, int]:
    """The numbers in a file with lines "Name:  number kB"."""
    found = {}
    try:
        with open(f"/proc/{pid}/{file}") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                word = value.split()[:1]
                if word and word[0].isdigit():
                    found[name] = int(word[0])
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error
    return found
