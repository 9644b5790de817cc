"""The message about a master that does not answer: it is stopped, or hangs; the kernel still takes connections."""

from __future__ import annotations

import os
import socket
from typing import Final

from gproc.disk.trusted import user_name
from gproc.trust.caller import listener_of
from gproc.trust.meeting import CONNECT_S

HELLO_S: Final = 10.0
"""Seconds until the master's first answer, which it gives before it looks at what is asked: as long as pdsh gives a
connection (its -t), and as a slave gives its parent."""


def silent(connection: socket.socket, path: str, seconds: float) -> str:
    """A sentence that names the socket and the process, and what to do."""
    return _told(listener_of(connection), path, f"does not answer: it has said nothing for {seconds:g} s")


def full(path: str) -> str:
    """The same for a master whose socket takes no connection, because as many wait there as the kernel holds."""
    from gproc.client.listener import listener_at  # only a silent master needs it

    return _told(listener_at(path), path, f"does not answer: it has taken no connection for {CONNECT_S} s")


def _told(process: tuple[int, int] | None, path: str, what: str) -> str:
    pid, uid = process or (0, os.lstat(path).st_uid)
    begin = f"the master at {path}, process {pid}, {what}" if pid else f"the master at {path} {what}"
    if pid and _is_stopped(pid):
        return f"{begin}, because it is stopped: kill -CONT {pid} lets it go on"
    who = "" if os.geteuid() in (0, uid) else f"its user, {user_name(uid)}, can end it: "
    return f"{begin}; if its machine is busy, try again; if it hangs, {who}gproc stop --socket={path}"


def _is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped it: proc(5)."""
    from gproc.client.listener import stat_of  # only a silent master needs it

    found = stat_of(pid)
    return found is not None and found.state in ("T", "t")
