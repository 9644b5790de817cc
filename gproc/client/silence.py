"""What is said of a master that takes connections and does not answer: while it is stopped, the kernel takes them."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

from gproc.trust.caller import listener_of, user_name

HELLO_S: Final = 10.0
"""Seconds until the master's first answer, which it gives before it looks at what is asked: as long as pdsh gives a
connection (its -t), and as a slave gives its parent."""


def silent(connection: socket.socket, path: str, seconds: float) -> str:
    """A sentence that names the socket and the process, and what to do."""
    pid, uid = listener_of(connection)
    begin = f"the master at {path}, process {pid}, does not answer: it has said nothing for {seconds:g} s"
    if _is_stopped(pid):
        return f"{begin}, because it is stopped: kill -CONT {pid} lets it go on"
    who = "" if os.geteuid() in (0, uid) else f"its user, {user_name(uid)}, can end it: "
    return f"{begin}; if its machine is busy, try again; if it hangs, {who}gproc stop --socket={path}"


def _is_stopped(pid: int) -> bool:
    """By a signal, or a debugger: proc(5)."""
    from gproc.launch import procstat  # only a silent master needs it

    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        found = procstat.parsed(file.read(4096))
        return found is not None and found.state in ("T", "t")
    return False
