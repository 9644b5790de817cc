"""How busy this machine is: its load and its memory, as the kernel tells them."""

from __future__ import annotations

import os

from gproc.wire.loads import Load
from gproc.wire.messages import MemorySize, Route

KIB = 1024


def load_of_this_machine(serial: int) -> Load:
    """The answer of this node to a poll."""
    here = Route(())
    memory = memory_in("/proc/meminfo")
    return Load(serial, ((here, os.getloadavg()[0]),), () if memory is None else ((here, memory),))


def memory_in(path: str) -> MemorySize | None:
    """Bytes in all, and available for programs without swapping: proc_meminfo(5).  None if the file does not say it."""
    found: dict[bytes, int] = {}
    try:
        with open(path, "rb") as file:
            for line in file:
                name, _, value = line.partition(b":")
                if name in (b"MemTotal", b"MemAvailable"):
                    found[name] = int(value.split()[0]) * KIB
                if len(found) == 2:
                    return found[b"MemTotal"], found[b"MemAvailable"]
    except (OSError, ValueError, IndexError):
        return None
    return None
