"""What this node allows the launcher, found by doing it once in a process that then ends.

No question to the kernel would do: a sysctl, seccomp, AppArmor, a masked /proc or an old kernel each refuse at another
step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from gproc.launch import protocol
from gproc.root import kernel, mounts
from gproc.root.abilities import Abilities
from gproc.root.view import MakeDirectory, Overlay, Proc, Tmpfs
from gproc.shown import reason_of

_ANSWER_BYTES: Final = 4096


def probe() -> Abilities:
    """The abilities of this node.  Raises: OSError if not even a process can be made."""
    return _asked_in_child(_try_namespaces)


def enter_namespaces() -> None:
    """Make children of this process able to get namespaces.  The first child is process 1 of a new PID namespace.

    Without root's rights this needs a user namespace: this process has all capabilities in it, and is still the same
    user outside.  The PID namespace in between must belong to that user namespace, because only then does setns(2)
    allow the way back to it.

    Mounts stay the node's.  A namespace of them made here would be as old as the launcher: if the node's mounts are
    private (no systemd, a container), a disk that was mounted later would not be there, and files would go below it.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        kernel.unshare(kernel.CLONE_NEWPID)
    else:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)
        # user_namespaces(7): an unprivileged process may only map itself, and groups only after this "deny".
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try_namespaces() -> Abilities:
    root = os.geteuid() == 0
    try:
        enter_namespaces()
    except OSError as error:
        return Abilities(view=False, overlay=False, root=root, reason=f"no namespaces: {reason_of(error)}")
    answer = _asked_in_child(_try_mounts)
    return Abilities(view=answer.view, overlay=answer.overlay, root=root, reason=answer.reason)


def _try_mounts() -> Abilities:
    """Try it as process 1 of a PID namespace.  /proc is the one directory to mount on that every node has."""
    at = b"/proc"
    uid, gid = os.geteuid(), os.getegid()
    try:
        mounts.begin()
        mounts.carry_out([Proc(at), Tmpfs(at)], uid, gid)
    except OSError as error:
        return Abilities(view=False, overlay=False, root=False, reason=f"no mounts: {reason_of(error)}")
    names = (b"lower", b"upper", b"work", b"union")
    try:
        mounts.carry_out([MakeDirectory(at, name) for name in names], uid, gid)
        mounts.carry_out([Overlay((b"/proc/lower",), b"/proc/upper", b"/proc/work", b"/proc/union")], uid, gid)
    except OSError as error:
        return Abilities(view=True, overlay=False, root=False, reason=f"no overlay: {reason_of(error)}")
    return Abilities(view=True, overlay=True, root=False, reason="")


def _asked_in_child(question: Callable[[], Abilities]) -> Abilities:
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        reason = f"no process can be made in a namespace: {error.strerror}"
        return Abilities(view=False, overlay=False, root=False, reason=reason)
    if pid == 0:
        try:
            os.write(writer, protocol.framed(question()))
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, _ANSWER_BYTES)
    os.close(reader)
    os.waitpid(pid, 0)
    if not answer:
        return Abilities(view=False, overlay=False, root=False, reason="a process in a namespace died")
    told = protocol.answer(answer[4:])
    assert isinstance(told, Abilities)
    return told
