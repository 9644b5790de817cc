"""What is to be copied, read step by step with the rights of whoever asks, at home and on a node.

No symlink is followed but those in the path that was named: who exchanges a directory for a link while a tree is
being read does not make us read what is behind it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gproc.copy.steps import DEPTH_MAX, ITSELF, Folder, Leaf, Leave, SymlinkStep

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEAF: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: should a pipe have taken a file's place, opening it must not wait for a writer."""


class Seen(NamedTuple):
    """A step, the path it was found at, and for a Leaf its descriptor, good until the next step is asked for."""

    step: Folder | Leave | SymlinkStep | Leaf
    path: bytes
    handle: int = -1


Missed = Callable[[bytes, OSError], None]
"""Is told what could not be read, and may raise; if it does not, the rest is read."""


def name_of(path: bytes) -> bytes:
    """The name that a copy of `path` has: that of its last component, ITSELF where that is `.`, `..` or the root."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    return ITSELF if name in (b"", b".", b"..") else name


def walk(path: bytes, missed: Missed) -> Iterator[Seen]:
    """`path` and all that is below it, in an order that does not depend on the disk: files and links before folders."""
    try:
        # With a slash at its end a link is followed, as everywhere: path_resolution(7).
        facts = os.lstat(path)
    except OSError as error:
        missed(path, error)
        return
    named = None
    # A link among the components before the last is the caller's own choice.
    if path.endswith(b"/") or name_of(path) == ITSELF:
        named = path.rstrip(b"/") + b"/."
    yield from _entry(named or path, None, name_of(path), path.rstrip(b"/") or b"/", facts, missed, 0)


def _entry(
    place: bytes, parent: int | None, name: bytes, path: bytes, facts: os.stat_result, missed: Missed, depth: int
) -> Iterator[Seen]:
    """One thing at `place`, relative to `parent`, and what is below it."""
    try:
        if stat.S_ISDIR(facts.st_mode):
            if depth == DEPTH_MAX:
                raise OSError(errno.ENAMETOOLONG, f"lies deeper than {DEPTH_MAX} directories")
            yield from _folder(os.open(place, _FOLDER, dir_fd=parent), name, path, missed, depth)
        elif stat.S_ISLNK(facts.st_mode):
            target = os.readlink(place, dir_fd=parent)
            yield Seen(SymlinkStep(name, target, facts.st_uid, facts.st_gid, facts.st_mtime_ns), path)
        elif stat.S_ISREG(facts.st_mode):
            yield from _leaf(os.open(place, _LEAF, dir_fd=parent), name, path)
        else:
            raise OSError(errno.EINVAL, "neither file, directory nor link")
    except OSError as error:
        missed(path, error)


def _folder(handle: int, name: bytes, path: bytes, missed: Missed, depth: int) -> Iterator[Seen]:
    """Takes `handle` over."""
    try:
        facts = os.fstat(handle)
        yield Seen(Folder(name, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, facts.st_mtime_ns), path)
        for below, found in _inside(handle, path, missed):
            yield from _entry(below, handle, below, path.rstrip(b"/") + b"/" + below, found, missed, depth + 1)
        yield Seen(Leave(), path)
    finally:
        os.close(handle)


def _inside(handle: int, path: bytes, missed: Missed) -> list[tuple[bytes, os.stat_result]]:
    """What a directory holds; other things before directories, else by name."""
    found = []
    try:
        names = sorted(map(os.fsencode, os.listdir(handle)))
    except OSError as error:
        missed(path, error)
        return []
    for name in names:
        try:
            found.append((name, os.stat(name, dir_fd=handle, follow_symlinks=False)))
        except OSError as error:
            missed(path.rstrip(b"/") + b"/" + name, error)
    found.sort(key=lambda entry: stat.S_ISDIR(entry[1].st_mode))
    return found


def _leaf(handle: int, name: bytes, path: bytes) -> Iterator[Seen]:
    """Takes `handle` over."""
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "was a file and is none any more")
        mode = stat.S_IMODE(facts.st_mode)
        leaf = Leaf(name, mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, facts.st_size)
        yield Seen(leaf, path, handle)
    finally:
        os.close(handle)
