"""What is to be copied, read step by step with the rights of the caller, at home and on a node.

Symlinks in the path that the caller named are followed, no others.  So a user who exchanges a directory for a link
while the tree is being read does not make us read what is behind the link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gproc.content.manifest import nanoseconds
from gproc.copy import attributes
from gproc.copy.steps import (
    DEPTH_MAX,
    ITSELF,
    SPECIAL_KINDS,
    Folder,
    HardLink,
    Leaf,
    Leave,
    Special,
    SymlinkStep,
    Xattrs,
)

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEAF: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: if a pipe has taken a file's place, opening it must not wait for a writer."""


class Seen(NamedTuple):
    """A step, the path where it was found, and for a Leaf its descriptor, valid until the next step is asked for."""

    step: Folder | Leave | SymlinkStep | Leaf | Special | HardLink
    path: bytes
    handle: int = -1


Missed = Callable[[bytes, OSError], None]
"""Called for each file that could not be read.  If it does not raise, the rest is read."""


def name_of(path: bytes) -> bytes:
    """The name that a copy of `path` has: its last component, or ITSELF for `.`, `..` and the root."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    return ITSELF if name in (b"", b".", b"..") else name


class _Numbered(NamedTuple):
    """A file with several names: the number that we gave it, and how many names are still to come."""

    number: int
    left: int


class _Place(NamedTuple):
    """Where something was found: `name` relative to the directory `parent`, if there is one.  path: for messages."""

    name: bytes
    parent: int | None
    path: bytes

    def by_name(self) -> bytes:
        """A path for system calls that take no directory descriptor.  Its last component is not followed."""
        return self.name if self.parent is None else attributes.by_descriptor(self.parent) + b"/" + self.name


class TreeReader:
    """Reads trees, and remembers the files with several names.

    kinds: the extended attributes that are kept (`gproc.copy.attributes`).  special: whether FIFOs, sockets and
    devices are kept; if not, they are reported as missed.  numbered_max: the most files of which further names are
    expected at a time.
    """

    def __init__(self, missed: Missed, *, kinds: tuple[bytes, ...], special: bool, numbered_max: int) -> None:
        self._missed = missed
        self._kinds = kinds
        self._special = special
        self._on_links = tuple(kind for kind in kinds if kind.startswith((b"trusted.", b"security.")))
        self._numbered_max = numbered_max
        self._numbered: dict[tuple[int, int], _Numbered] = {}
        self._count = 0
        self._last: tuple[int, int] | None = None

    def walk(self, path: bytes) -> Iterator[Seen]:
        """Yield `path` and all that is below it, in an order that does not depend on the disk.

        In each directory, files come before subdirectories.
        """
        try:
            # With a slash at its end a link is followed, as everywhere: path_resolution(7).
            facts = os.lstat(path)
        except OSError as error:
            self._missed(path, error)
            return
        found = path
        # A link among the components before the last is the caller's own choice.
        if path.endswith(b"/") or name_of(path) == ITSELF:
            found = path.rstrip(b"/") + b"/."
        place = _Place(found, None, path.rstrip(b"/") or b"/")
        yield from self._entry(place, name_of(path), facts, 0)

    def forget(self) -> None:
        """The last Leaf could not be read after all.  If it has another name, that one is a file and no HardLink."""
        if self._last is not None:
            self._numbered.pop(self._last, None)

    def _entry(self, place: _Place, name: bytes, facts: os.stat_result, depth: int) -> Iterator[Seen]:
        """The steps of one file or directory, and of everything below it."""
        self._last = None
        kind = stat.S_IFMT(facts.st_mode)
        try:
            if kind == stat.S_IFDIR:
                if depth == DEPTH_MAX:
                    raise OSError(errno.ENAMETOOLONG, f"is below more than {DEPTH_MAX} directories")
                yield from self._folder(os.open(place.name, _FOLDER, dir_fd=place.parent), place, name, depth)
                return
            if (link := self._known(facts, name)) is not None:
                yield Seen(link, place.path)
            elif kind == stat.S_IFREG:
                yield from self._leaf(os.open(place.name, _LEAF, dir_fd=place.parent), place, name)
            elif kind == stat.S_IFLNK:
                target = os.readlink(place.name, dir_fd=place.parent)
                kept = attributes.read(place.by_name(), self._on_links) if self._on_links else ()
                number, mtime_ns = self._number(facts, place), nanoseconds(facts.st_mtime_ns)
                yield Seen(
                    SymlinkStep(name, target, facts.st_uid, facts.st_gid, mtime_ns, kept, number), place.path
                )
            else:
                yield Seen(self._special_file(place, name, facts), place.path)
        except OSError as error:
            self._missed(place.path, error)

    def _folder(self, handle: int, place: _Place, name: bytes, depth: int) -> Iterator[Seen]:
        """Takes `handle` over."""
        try:
            facts = os.fstat(handle)
            step = Folder(name, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, nanoseconds(facts.st_mtime_ns))
            yield Seen(step, place.path)
            for below, found in self._inside(handle, place.path):
                path = place.path.rstrip(b"/") + b"/" + below
                yield from self._entry(_Place(below, handle, path), below, found, depth + 1)
            yield Seen(Leave(self._attributes(handle, place.path)), place.path)
        finally:
            os.close(handle)

    def _inside(self, handle: int, path: bytes) -> list[tuple[bytes, os.stat_result]]:
        """The entries of a directory, by name, with directories last."""
        found = []
        try:
            names = sorted(map(os.fsencode, os.listdir(handle)))
        except OSError as error:
            self._missed(path, error)
            return []
        for name in names:
            try:
                found.append((name, os.stat(name, dir_fd=handle, follow_symlinks=False)))
            except OSError as error:
                self._missed(path.rstrip(b"/") + b"/" + name, error)
        found.sort(key=lambda entry: stat.S_ISDIR(entry[1].st_mode))
        return found

    def _leaf(self, handle: int, place: _Place, name: bytes) -> Iterator[Seen]:
        """Takes `handle` over."""
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.EINVAL, "was a file and is something else now")
            mode = stat.S_IMODE(facts.st_mode)
            leaf = Leaf(
                name, mode, facts.st_uid, facts.st_gid, nanoseconds(facts.st_mtime_ns), facts.st_size,
                attributes=self._attributes(handle, place.path),
                # It may have holes.  The reader of its content finds out where they are.
                sparse=facts.st_blocks * 512 < facts.st_size,
                number=self._number(facts, place),
            )  # fmt: skip
            yield Seen(leaf, place.path, handle)
        finally:
            os.close(handle)

    def _special_file(self, place: _Place, name: bytes, facts: os.stat_result) -> Special:
        kind = stat.S_IFMT(facts.st_mode)
        if kind not in SPECIAL_KINDS:
            raise OSError(errno.EINVAL, "is a kind of file that cannot be copied")
        if not self._special:
            raise OSError(errno.EINVAL, f"is {SPECIAL_KINDS[kind]}: only files, directories and links are brought back")
        device = facts.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        kept = attributes.read(place.by_name(), self._kinds)
        return Special(
            name, kind, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, nanoseconds(facts.st_mtime_ns),
            os.major(device), os.minor(device), kept, self._number(facts, place),
        )  # fmt: skip

    def _attributes(self, handle: int, path: bytes) -> Xattrs:
        """The attributes of a file or directory.  If they cannot be read, it is copied without them and reported."""
        try:
            return attributes.read(handle, self._kinds)
        except OSError as error:
            self._missed(path, OSError(error.errno, f"its extended attributes are left out: {error.strerror}"))
            return ()

    def _known(self, facts: os.stat_result, name: bytes) -> HardLink | None:
        """The step for a further name of a file that was read before."""
        key = facts.st_dev, facts.st_ino
        known = self._numbered.get(key) if facts.st_nlink > 1 else None
        if known is None:
            return None
        if known.left == 1:
            del self._numbered[key]
        else:
            self._numbered[key] = _Numbered(known.number, known.left - 1)
        return HardLink(name, known.number, known.left == 1)

    def _number(self, facts: os.stat_result, place: _Place) -> int:
        """The number of a file with further names.  It is remembered until all of its names have been read."""
        if facts.st_nlink < 2:
            return 0
        if len(self._numbered) == self._numbered_max:
            told = f"more than {self._numbered_max} files have several names: this one is copied by itself"
            self._missed(place.path, OSError(errno.EMLINK, told))
            return 0
        self._count += 1
        self._last = facts.st_dev, facts.st_ino
        self._numbered[self._last] = _Numbered(self._count, facts.st_nlink - 1)
        return self._count
