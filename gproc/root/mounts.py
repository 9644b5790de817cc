"""A view carried out: the only place that mounts.

Runs in a job's process 1, before it gives up the slave's rights, in a mount namespace that belongs to this job
and whose mounts are slaves of the node's: what is mounted here is seen by the job alone and goes with it.

The paths come from a plan that the slave made, but the file system may have changed since, and above binRoot
others may write.  So directories are opened without following a link in their last part, checked, and mounted
on by descriptor: what was checked is what is covered.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final, assert_never

from gproc.root import kernel
from gproc.root.view import CopyTree, MakeDirectory, Operation, Overlay, Proc, Tmpfs

_OPTIONS_BYTES_MAX: Final = 4095
"""mount(2) copies one page of options, with its final NUL."""

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_COPY_BYTES: Final = 8 << 20


def carry_out(operations: Sequence[Operation], uid: int, gid: int) -> None:
    """Do `operations` in order; directories that are made belong to `uid` and `gid`.

    Raises: OSError naming the path, at the first operation that fails; what was done so far stays.
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
            case Proc(at):
                kernel.mount(b"proc", at, b"proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
            case _:
                assert_never(operation)


def _tmpfs(at: bytes) -> None:
    directory = os.open(at, _DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(directory).st_uid
        if owner not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"it belongs to user {owner}", os.fsdecode(at))
        kernel.mount(b"gproc", _by_descriptor(directory), b"tmpfs", kernel.MS_NODEV, b"mode=0755")
    finally:
        os.close(directory)


def _overlay(overlay: Overlay) -> None:
    options = b"lowerdir=" + b":".join(_escaped(lower) for lower in overlay.lowers)
    flags = kernel.MS_NODEV
    if overlay.upper:
        options += b",upperdir=" + _escaped(overlay.upper) + b",workdir=" + _escaped(overlay.work)
        # trusted.* attributes, overlayfs's default, need CAP_SYS_ADMIN in the first user namespace (since 5.11).
        options += b",userxattr" if os.geteuid() != 0 else b""
    else:
        # Node directories are in these unions: the node's own set-id programs go on working for root.
        flags |= kernel.MS_RDONLY
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


def _escaped(path: bytes) -> bytes:
    """As overlayfs reads a layer's path: `:` parts layers, `,` parts options."""
    return path.replace(b"\\", b"\\\\").replace(b":", b"\\:").replace(b",", b"\\,")


def _by_descriptor(directory: int) -> bytes:
    return b"/proc/self/fd/%d" % directory


def make_directory(base: bytes, path: bytes, uid: int, gid: int) -> None:
    """Make what is missing of `path` below `base`, each part 0755 and owned by `uid` and `gid`.

    A part that is a link is refused: with a bundle's link /work -> /etc, a working directory /work/x would make
    the slave, as root, give /etc/x to the caller.
    """
    here = os.open(base, _DIRECTORY)
    try:
        for part in path.split(b"/"):
            if not part:
                continue
            made = True
            try:
                os.mkdir(part, 0o755, dir_fd=here)
            except FileExistsError:
                made = False
            try:
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except NotADirectoryError as error:
                raise NotADirectoryError(error.errno, "no directory, or a link", os.fsdecode(base + path)) from error
            if made and os.geteuid() == 0:
                os.chown(part, uid, gid, dir_fd=here, follow_symlinks=False)
            os.close(here)
            here = below
    finally:
        os.close(here)


def copy_tree(source: bytes, at: bytes) -> None:
    """Copy what is below the directory `source` into the directory `at`: owners (as root), modes, links, times.

    File contents go by copy_file_range(2), which shares blocks where the file system can.
    """
    with os.scandir(source) as entries:
        for entry in entries:
            to = at + b"/" + entry.name
            facts = entry.stat(follow_symlinks=False)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), to)
            elif entry.is_dir():
                os.mkdir(to, 0o700)
                copy_tree(entry.path, to)
            elif entry.is_file():
                _copy_file(entry.path, to, facts.st_size)
            else:
                raise OSError(errno.EINVAL, "neither file, directory nor link", os.fsdecode(entry.path))
            if os.geteuid() == 0:
                os.chown(to, facts.st_uid, facts.st_gid, follow_symlinks=False)
            if not entry.is_symlink():
                os.chmod(to, stat.S_IMODE(facts.st_mode))
                os.utime(to, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _copy_file(source: bytes, to: bytes, size_bytes: int) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy_bytes(reader, writer, size_bytes)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_bytes(reader: int, writer: int, size_bytes: int) -> None:
    left = size_bytes
    while left > 0:
        try:
            moved = os.copy_file_range(reader, writer, left)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            # Across file systems before 5.3 and after 5.19, and where one of the two does not take part.
            moved = os.sendfile(writer, reader, None, min(left, _COPY_BYTES))
        if moved == 0:
            raise OSError(errno.EIO, "a file of the bundle became shorter while it was copied")
        left -= moved
