"""The process that listens at a Unix socket whose queue is full: without a connection the kernel does not name it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from gproc.launch import procstat

_ACCEPTS: Final = 0x10000
"""SO_ACCEPTCON in the flags of /proc/net/unix: the socket listens."""


def listener_at(path: str) -> tuple[int, int] | None:
    """The process and its user's uid, as `caller.listener_of` tells them of a connection.

    Only root and this user count, as for `meeting.dial`.  None if it cannot be found: only root can look into root's
    processes, and no process into another PID or network namespace.
    """
    sockets = _sockets(path)
    found = []
    for pid, uid in _processes():
        if uid in (0, os.geteuid()) and (began := _holds(pid, sockets)) is not None:
            found.append((began, pid, uid))
    # A process that it has started may have the descriptor too; it is the younger one.
    return min(found)[1:] if found else None


def _sockets(path: str) -> set[str]:
    """What /proc/PID/fd shows for the sockets that listen under that name."""
    names = {path, os.path.abspath(path), os.path.realpath(path)}
    found = set()
    with contextlib.suppress(OSError), open("/proc/net/unix", "rb") as table:
        for line in table:
            # Num: RefCount Protocol Flags Type St Inode Path
            words = line.rstrip(b"\n").split(None, 7)
            listens = len(words) == 8 and words[3].isdigit() and int(words[3], 16) & _ACCEPTS
            if listens and os.fsdecode(words[7]) in names:
                found.add(f"socket:[{words[6].decode()}]")
    return found


def _processes() -> Iterator[tuple[int, int]]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    yield int(entry.name), entry.stat().st_uid


def _holds(pid: int, sockets: set[str]) -> int | None:
    """When the process began, if it has one of these sockets."""
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(f"/proc/{pid}/fd/{number}") in sockets:
                    found = stat_of(pid)
                    return None if found is None else found.began
    return None


def stat_of(pid: int) -> procstat.ProcessStat | None:
    """None if there is no such process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return procstat.parsed(file.read(4096))
    return None
