"""Shows the job's files at their own paths on the node, beside the node's own: `native/place.c`, in Python.

It looks only into directories that the caller may read: a process with the caller's rights opens each of them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from gproc.root import kernel
from gproc.root.as_user import Identity, as_user
from gproc.root.view import InPlace, OwnTop

ENTRIES_MAX: Final = 4000
"""The most entries of the node that one job puts back.  Each takes some 25 us.  What the job has itself costs a
look only, and a bundle has its own bound."""

_TOO_MANY: Final = (
    f"with it, more than {ENTRIES_MAX:,} entries stand beside what was sent: "
    "cd there first, or send from another directory"
)

_DEPTH_MAX: Final = 16
"""How deep directories may be inside each other that both the job and the node have."""

_HANDLE: Final = os.O_PATH | os.O_CLOEXEC
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC


def show(operation: InPlace, identity: Identity) -> None:
    """Raises: OSError naming the path."""
    found, *lists = as_user(identity, lambda: _nearest(operation.at, operation.whole))
    try:
        root = os.open(operation.root, _HANDLE | os.O_DIRECTORY)
        try:
            # What is on the device of the job's own root is shown already, by an operation before this one.
            if not _same_device(root, found):
                _show(operation, found, lists, root, identity)
        finally:
            os.close(root)
    finally:
        for handle in (found, *lists):
            os.close(handle)


def _nearest(at: bytes, whole: bool) -> list[int]:
    """With the caller's rights: a handle for the directory, or the nearest one above; if it is to be read, a list too.

    A third descriptor is a pipe that says how much of the path was found.
    """
    path = at
    failure: OSError = FileNotFoundError(errno.ENOENT, "", at)
    while path:
        try:
            found = os.open(path, _HANDLE | os.O_DIRECTORY)
            lists = [] if whole and path == at else [_listed(found)]
            reader, writer = os.pipe()
            os.write(writer, b"%d" % len(path))
            return [found, reader, *lists]
        except OSError as error:
            failure = OSError(error.errno, "", at)
            path = path.rpartition(b"/")[0]
    raise failure


def _listed(found: int) -> int:
    """A descriptor to list a directory by.  Raises: OSError if the caller may not open what is in it."""
    handle = os.open(b".", _LIST, dir_fd=found)
    os.close(os.open(b".", _HANDLE, dir_fd=handle))
    return handle


def _show(operation: InPlace, found: int, rest: list[int], root: int, identity: Identity) -> None:
    length = int(os.read(rest[0], 8))
    gives_way = operation.yielding != () and length == len(operation.at) and len(rest) > 1
    try:
        own = _below(root, operation.at[:length].strip(b"/"))
    except FileNotFoundError:
        if not gives_way:
            raise
        return  # all of it has given way to the node's own, with a directory around it
    try:
        if not _same_device(own, root):
            return  # the same, and it was put back
        if gives_way:
            _give_way(operation.yielding, rest[1], own, identity)
            if not operation.stays and _is_empty(own):
                kernel.mount(_by_descriptor(found), _by_descriptor(own), None, kernel.MS_BIND | kernel.MS_REC)
                return
            if operation.yields and len(os.listdir(rest[1])) > ENTRIES_MAX:
                return  # the node's own is as much what is meant
        if len(rest) > 1:
            _put_all(rest[1], own, identity, 0, [ENTRIES_MAX])
        kernel.mount(_by_descriptor(own), _by_descriptor(found), None, kernel.MS_BIND | kernel.MS_REC)
    finally:
        os.close(own)


def _give_way(yielding: Sequence[bytes], node: int, own: int, identity: Identity) -> None:
    """Remove from our own directory what the node has itself: it is put back after that, as all that the node has."""
    if not yielding:
        return
    reader = as_user(identity, lambda: [_told(bytes(_has(node, own, each) for each in yielding))])[0]
    try:
        held = os.read(reader, len(yielding))
    finally:
        os.close(reader)
    for path, has in zip(yielding, held, strict=True):
        parent, _, name = path.rpartition(b"/")
        if has:
            _remove(own, parent, name, _path_of(node) + b"/" + path)


def _remove(own: int, parent: bytes, name: bytes, shown: bytes) -> None:
    """Remove a file, and the directories above it that have nothing in them any more: the node has them too."""
    try:
        directory = _below(own, parent)
    except FileNotFoundError:  # it is removed already
        return
    try:
        # Else the node's own is there already, by a directory below this one that was shown before: never remove that.
        if not _same_device(own, directory):
            return
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.EBUSY:  # a file of the node's own, in the same way
            return
        raise OSError(error.errno, error.strerror, shown) from error
    finally:
        os.close(directory)
    while parent:
        parent, _, name = parent.rpartition(b"/")
        directory = _below(own, parent)
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError:  # it has more
            return
        finally:
            os.close(directory)


def _same_device(one: int, other: int) -> bool:
    return os.fstat(one).st_dev == os.fstat(other).st_dev


def _is_empty(own: int) -> bool:
    handle = os.open(b".", _LIST, dir_fd=own)
    try:
        return not os.listdir(handle)
    finally:
        os.close(handle)


def _told(content: bytes) -> int:
    """A pipe to read it from; at most a page is sure to fit, and InPlace has no more names."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


def _has(node: int, own: int, path: bytes) -> bool:
    """With the caller's rights: whether the node has it, in directories that the caller may list, each of them.

    A directory on the device of the job's own root was shown there before.
    """
    *way, name = path.split(b"/")
    if len(way) > _DEPTH_MAX:
        return False
    here = os.dup(node)
    try:
        for part in way:
            below = _opened(here, part)
            os.close(here)
            here = below
            os.close(_listed(here))
            if _same_device(here, own):
                return False
        return _kind(here, name) != 0
    except OSError:
        return False
    finally:
        os.close(here)


def _below(root: int, path: bytes) -> int:
    """A handle for a directory below `root`; no link is followed."""
    here = os.open(b".", _HANDLE | os.O_DIRECTORY, dir_fd=root)
    for part in filter(None, path.split(b"/")):
        try:
            below = _opened(here, part)
        finally:
            os.close(here)
        here = below
    return here


def _put_all(node: int, own: int, identity: Identity, depth: int, left: list[int]) -> None:
    """What the node has in a directory, also in ours; of what both have, ours is shown."""
    for name in map(os.fsencode, os.listdir(node)):
        kind = _kind(own, name)
        if not kind:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.E2BIG, _TOO_MANY, _path_of(node))
            put(node, own, name)
        elif kind == stat.S_IFDIR == _kind(node, name) and depth < _DEPTH_MAX:
            _put_below(node, own, name, identity, depth, left)


def _put_below(node: int, own: int, name: bytes, identity: Identity, depth: int, left: list[int]) -> None:
    try:
        inside = as_user(identity, lambda: [_listed(_opened(node, name))])[0]
    except OSError:
        return
    try:
        mine = os.open(name, _HANDLE | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=own)
        try:
            if _same_device(own, mine):  # else the node's own is there already
                _put_all(inside, mine, identity, depth + 1, left)
        finally:
            os.close(mine)
    finally:
        os.close(inside)


def _opened(node: int, name: bytes) -> int:
    return os.open(name, _HANDLE | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=node)


def put(node: int, own: int, name: bytes) -> None:
    """One entry of the node's directory, also in our own, which has nothing of that name.

    Raises: OSError naming its path.
    """
    try:
        _put(node, own, name)
    except OSError as error:
        raise OSError(error.errno, error.strerror, _path_of(node) + b"/" + name) from error


def _path_of(node: int) -> bytes:
    return os.readlink(_by_descriptor(node))


def _put(node: int, own: int, name: bytes) -> None:
    try:
        was = os.open(name, _HANDLE | os.O_NOFOLLOW, dir_fd=node)
    except FileNotFoundError:
        return
    try:
        kind = _kind_of(was, node, name)
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(b"", dir_fd=was), name, dir_fd=own)
            return
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o755, dir_fd=own)
        else:
            # Without mode bits: `gproc.copy.written` tells it by that from what the job writes.
            os.mknod(name, stat.S_IFREG, dir_fd=own)
        to = os.open(name, _HANDLE | os.O_NOFOLLOW, dir_fd=own)
        try:
            # Recursive: in a user namespace a bind that would uncover what is mounted below is refused.
            kernel.mount(_by_descriptor(was), _by_descriptor(to), None, kernel.MS_BIND | kernel.MS_REC)
        finally:
            os.close(to)
    finally:
        os.close(was)


def _kind_of(entry: int, node: int, name: bytes) -> int:
    """The state of a name that was opened.  A FUSE mount of a user is closed to all others, also to root: it can be
    opened, and not asked.
    """
    try:
        return stat.S_IFMT(os.fstat(entry).st_mode)
    except PermissionError:
        try:
            os.close(_opened(node, name))
        except OSError:
            return stat.S_IFREG
        return stat.S_IFDIR


def make_top(operation: OwnTop) -> None:
    """The tmpfs that is mounted at `operation.at` becomes the root directory.  Raises: OSError."""
    first = operation.at.split(b"/")[1]
    node, own = os.open(b"/", _LIST), os.open(operation.at, _HANDLE | os.O_DIRECTORY)
    try:
        put_node_top(node, own, first)
        for name in operation.directories:
            os.mkdir(name, 0o755, dir_fd=own)
        for name, target in operation.links:
            os.symlink(target, name, dir_fd=own)
        kernel.mount(_by_descriptor(own), b"/", None, kernel.MS_MOVE)
        os.fchdir(own)
        os.chroot(b".")
    finally:
        os.close(node)
        os.close(own)


def put_node_top(node: int, own: int, first: bytes) -> None:
    """Put the entries of the node's root directory into `own`.  Raises: OSError."""
    if first:
        # It has the directory that we stand in: before anything is mounted there, which would come along.
        put(node, own, first)
    names = os.listdir(node)
    if len(names) > ENTRIES_MAX:
        raise OSError(errno.E2BIG, "it has too many entries", "/")
    for name in map(os.fsencode, names):
        if not _kind(own, name):
            put(node, own, name)


def _kind(directory: int, name: bytes) -> int:
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return 0


def _by_descriptor(directory: int) -> bytes:
    return b"/proc/self/fd/%d" % directory
