"""What the kernel says of a process in /proc/PID/stat: proc_pid_stat(5).  Pure."""

from __future__ import annotations

from typing import NamedTuple


class ProcessStat(NamedTuple):
    """name: as the process gave it, with any bytes.  state: a letter.  began: in the kernel's ticks since boot."""

    name: bytes
    state: str
    parent: int
    began: int


def parsed(text: bytes) -> ProcessStat | None:
    """None if this is no such text, as of a process that ended while it was read."""
    # "pid (name) state parent ..."; the name may have spaces and parentheses.
    head, _, rest = text.rpartition(b")")
    words = rest.split()
    if len(words) < 20:
        return None
    return ProcessStat(head.partition(b"(")[2], words[0].decode(), int(words[1]), int(words[19]))
