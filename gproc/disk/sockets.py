"""Unix sockets as directory entries: each has its mode from its first moment on, without umask(2)."""

from __future__ import annotations

import contextlib
import os
import socket
import stat


def bind_with_mode(listener: socket.socket, path: str, mode: int) -> os.stat_result:
    """Bind at a path that is not there; the entry never has more of the mode than this, and in the end all of it.

    Not by umask(2): that is of the whole process, and a thread that makes a file or a directory meanwhile would get a
    wrong mode.  Returns lstat(2) of the entry.  Raises: OSError.
    """
    os.fchmod(listener.fileno(), mode)  # Linux makes the entry with the mode of the socket, less the umask
    listener.bind(path)
    try:
        # By a handle: if the entry was removed already, the path may lead elsewhere.
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)  # otherwise it would stay, without a listener
        raise
    try:
        found = os.fstat(handle)
        ours = stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()
        if ours and stat.S_IMODE(found.st_mode) != mode:
            os.chmod(f"/proc/self/fd/{handle}", mode)
        return found
    finally:
        os.close(handle)
