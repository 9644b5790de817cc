"""Carries out a view.  Only this module mounts.

It runs in a job's process 1, before that gives up the slave's rights, in a mount namespace that belongs to this job.
The job's mounts are slaves of the node's: only the job sees them, and they end with it.

The paths come from a plan that the slave made.  But the file system may have changed since, and other users may write
above binRoot.  So a directory is opened without following a link in its last part, checked, and mounted on by its
descriptor: then the checked directory is the covered one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final, assert_never

from gproc.disk.trees import copy_tree, make_directory
from gproc.root import kernel, place
from gproc.root.as_user import Identity, as_user
from gproc.root.view import CopyTree, InPlace, MakeDirectory, Operation, Overlay, OwnTop, Proc, ShowAt, Tmpfs

_OPTIONS_BYTES_MAX: Final = 4095
"""mount(2) copies one page of options, with its final NUL."""

_OVERFLOW_UID: Final = 65534
"""What stat(2) shows for a user that the user namespace does not map: /proc/sys/kernel/overflowuid."""

_PRIVATE: Final = kernel.MS_NODEV | kernel.MS_NOSUID
"""The flags of file systems that a job can write to: they have neither devices nor set-id programs."""

_TMPFS_OPTIONS: Final = b"mode=0755,size=25%,nr_inodes=256k"
"""What a job may write to its own binRoot: a quarter of the memory instead of tmpfs's usual half, and as many files as
take some 256 MB of the kernel's.  A bundle that is copied there has at most 131,072."""

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def begin() -> None:
    """Give this process mounts of its own, which begin as those of the node are now.

    If the node's mounts are shared, its later ones appear too.  Our own never appear outside.

    Raises: OSError.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(b"none", b"/", None, kernel.MS_REC | kernel.MS_SLAVE)


def carry_out(operations: Sequence[Operation], uid: int, gid: int, groups: Sequence[int] = ()) -> None:
    """Do `operations` in order; directories that are made belong to `uid` and `gid`, the caller's, as `groups` are.

    Raises: OSError, which names the path, at the first operation that fails.  The operations before it stay done.
    """
    for operation in operations:
        match operation:
            case Tmpfs(at):
                _tmpfs(at)
            case MakeDirectory(base, path):
                make_directory(base, path, uid, gid)
            case Overlay():
                _overlay(operation)
            case CopyTree(source, at):
                copy_tree(source, at)
            case ShowAt(source, at):
                _show_at(source, at, uid, gid, groups)
            case InPlace():
                place.show(operation, Identity(uid, gid, tuple(groups)))
            case OwnTop():
                _tmpfs(operation.at)
                place.make_top(operation)
            case Proc(at):
                kernel.mount(b"proc", at, b"proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
            case _:
                assert_never(operation)


def _tmpfs(at: bytes) -> None:
    directory = os.open(at, _DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(directory).st_uid
        if owner not in _trusted_owners():
            raise PermissionError(errno.EPERM, f"it belongs to user {owner}", os.fsdecode(at))
        kernel.mount(b"gproc", _by_descriptor(directory), b"tmpfs", _PRIVATE, _TMPFS_OPTIONS)
    finally:
        os.close(directory)


def _trusted_owners() -> tuple[int, ...]:
    """Our user.  In a user namespace, also users that are not mapped, such as root: `binroot.claim` checked them."""
    return (0,) if os.geteuid() == 0 else (os.geteuid(), _OVERFLOW_UID)


def _overlay(overlay: Overlay) -> None:
    options = b"lowerdir=" + b":".join(_escaped(lower) for lower in overlay.lowers)
    if overlay.upper:
        flags = _PRIVATE
        options += b",upperdir=" + _escaped(overlay.upper) + b",workdir=" + _escaped(overlay.work)
        # trusted.* attributes, overlayfs's default, need CAP_SYS_ADMIN in the first user namespace (since 5.11).
        # index: a hard link to a shipped file has its inode number, or git clone takes it for another file.
        options += b",userxattr" if os.geteuid() != 0 else b",index=on"
    else:
        # Node directories are in these unions: the node's own set-id programs go on working for root.
        flags = kernel.MS_NODEV | kernel.MS_RDONLY
    if len(options) > _OPTIONS_BYTES_MAX:
        raise OSError(errno.E2BIG, "too many directories in one union", os.fsdecode(overlay.at))
    kept: list[tuple[int, bytes]] = []
    try:
        for name in overlay.keep:
            child = overlay.at + b"/" + name
            kept.append((os.open(child, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW), child))
        kernel.mount(b"gproc", overlay.at, b"overlay", flags, options)
        for directory, child in kept:
            # Recursive: in a user namespace a bind that would uncover what is mounted below is refused.
            kernel.mount(_by_descriptor(directory), child, None, kernel.MS_BIND | kernel.MS_REC)
    finally:
        for directory, _child in kept:
            os.close(directory)


def _show_at(source: bytes, at: bytes, uid: int, gid: int, groups: Sequence[int]) -> None:
    """Bind `source` over a directory that the caller named.  A process with the caller's rights opens it."""
    directory = as_user(Identity(uid, gid, tuple(groups)), lambda: [_opened(at)])[0]
    try:
        kernel.mount(source, _by_descriptor(directory), None, kernel.MS_BIND | kernel.MS_REC)
    finally:
        os.close(directory)


def _opened(at: bytes) -> int:
    """Open the directory.  If it is missing, it is made."""
    os.umask(0o022)
    os.makedirs(at, exist_ok=True)
    return os.open(at, _DIRECTORY)


def _escaped(path: bytes) -> bytes:
    """Escape a layer's path for overlayfs: there, `:` separates layers, and `,` separates options."""
    return path.replace(b"\\", b"\\\\").replace(b":", b"\\:").replace(b",", b"\\,")


def _by_descriptor(directory: int) -> bytes:
    return b"/proc/self/fd/%d" % directory
