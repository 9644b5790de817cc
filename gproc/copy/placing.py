"""On a node, as the caller: puts the files of a bundle of `gproc.copy.packing` where the caller wants them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gproc.content.holes import Segment, segments
from gproc.copy.descent import WayLost
from gproc.copy.metadata import ROOTS_COPY, USERS_COPY
from gproc.copy.steps import (
    INDEX,
    ITSELF,
    End,
    Extent,
    Folder,
    HardLink,
    Hole,
    Leaf,
    Leave,
    Special,
    Step,
    StepReader,
    SymlinkStep,
    Whole,
)
from gproc.copy.writer import Complain, Writer, open_directory
from gproc.errors import PeerError
from gproc.shown import shown

_INDEX_READ_BYTES: Final = 1 << 20
_COPY_BYTES: Final = 8 << 20
"""Bytes of one copy_file_range(2).  A signal waits until it is done."""

_COMPARE_BYTES: Final = 256 << 10

LINK_BYTES_MIN: Final = 1 << 20
"""A file of this size or more becomes a further name of the store's file, if that is possible, and is not copied.

Writing 512 MiB takes half a second, more than all else that a node does with them.  And they are on its disk once."""

Top = Folder | Leaf | SymlinkStep | Special
_Source = Top | HardLink
"""The steps that an index may begin with.  HardLink: the second source is another name of the first."""


def place(tree: int, to: bytes, complain: Complain) -> None:
    """Put the files of `tree`, an open directory of the store, at the path `to`, as `cp -a` would.

    If `to` is a directory, they go into it; if not, the one source gets that name.  A file that is there already with
    the same bytes, mode, owner, attributes and time is not touched.
    """
    try:
        tops = _tops(tree)
        opened, path, rename = _destination(to, tops)
    except (OSError, PeerError) as error:
        complain(f"{shown(to)}: {error.strerror if isinstance(error, OSError) else error}")
        return
    writer = Writer(opened, path, complain, ROOTS_COPY if os.geteuid() == 0 else USERS_COPY)
    contents = _Contents(tree)
    placing = _Placing(writer, contents)
    try:
        for step in _steps(tree):
            if rename and writer.depth == 0 and isinstance(step, Top):
                step = msgspec.structs.replace(step, name=rename)
            placing.carry_out(step)
    except WayLost as lost:
        complain(str(lost))
    except PeerError as error:
        complain(f"{shown(to)}: {error}")
    except OSError as error:
        # The writer has already complained of its own failures.
        complain(f"the bundle in this node's store cannot be read: {error.strerror}")
    finally:
        contents.close()
        writer.close()


class _Contents:
    """The bundle's files, one open at a time: files that share a pack mostly follow each other."""

    def __init__(self, tree: int) -> None:
        self._tree = tree
        self._name = b""
        self._handle = -1

    @property
    def tree(self) -> int:
        return self._tree

    def opened(self, name: bytes) -> int:
        """A descriptor, valid until another one is asked for.  Raises: OSError."""
        if name != self._name:
            self.close()
            self._handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._tree)
            self._name = name
        return self._handle

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._name, self._handle = b"", -1


class _Placing:
    """The steps of an index, carried out by a writer."""

    def __init__(self, writer: Writer, contents: _Contents) -> None:
        self._writer = writer
        self._contents = contents
        self._sparse: Leaf | None = None
        self._parts: list[Hole | Extent] = []

    def carry_out(self, step: Step) -> None:
        """Raises: PeerError for a step that cannot be here; OSError if a content cannot be opened; WayLost."""
        if (self._sparse is not None) != isinstance(step, Hole | Extent | Whole):
            raise PeerError(f"the index of the bundle has {type(step).__name__} at a place where it cannot be")
        match step:
            case Folder():
                self._writer.folder(step)
            case Leave():
                self._writer.leave(step)
            case SymlinkStep():
                self._writer.link(step)
            case Special():
                self._writer.special(step)
            case HardLink():
                self._writer.hard_link(step)
            case Leaf(sparse=True):
                self._sparse = step
            case Leaf():
                whole = [Extent(step.size_bytes, step.content, step.offset)] if step.size_bytes else []
                self._put_file(step, whole)
            case Hole() | Extent():
                self._parts.append(step)
            case Whole():
                leaf, self._sparse = self._sparse, None
                parts, self._parts = self._parts, []
                assert leaf is not None
                if sum(part.size_bytes for part in parts) != leaf.size_bytes:
                    raise PeerError("the index of the bundle has a file whose parts are not as long as it is")
                self._put_file(leaf, parts)
            case _:
                pass

    def _put_file(self, leaf: Leaf, parts: Sequence[Hole | Extent]) -> None:
        for part in parts:
            if isinstance(part, Extent):
                self._contents.opened(part.content)  # a content that is not there fails before anything is written
        if self._stands(leaf, parts) or self._linked(leaf, parts):
            return
        handle = self._writer.begin(leaf)
        if handle is None:
            return
        try:
            for part in parts:
                if isinstance(part, Hole):
                    self._writer.hole(part.size_bytes)
                else:
                    _copy(self._contents.opened(part.content), handle, part)
        except OSError as error:
            self._writer.complain(leaf.name, error)
            self._writer.tear()
            return
        self._writer.keep()

    def _linked(self, leaf: Leaf, parts: Sequence[Hole | Extent]) -> bool:
        """Make the copy a further name of the store's own file, if possible.  Returns False if it must be copied.

        The content must be the whole file, and no copy may have it yet: two copies of one file are two files.  From now
        on, a user who writes to the copy writes to the store's file.  The slave notices that by the file's time, and
        throws its file away (`gproc.store.store.Root.relinked`).
        """
        if leaf.size_bytes < LINK_BYTES_MIN or len(parts) != 1 or not isinstance(parts[0], Extent) or leaf.number:
            return False
        content = self._contents.opened(parts[0].content)
        facts = os.fstat(content)
        if parts[0].offset or facts.st_size != leaf.size_bytes or facts.st_nlink != 1:
            return False
        return self._writer.adopt_link(leaf, content, self._contents.tree, parts[0].content)

    def _stands(self, leaf: Leaf, parts: Sequence[Hole | Extent]) -> bool:
        """Whether exactly this file is in its place already."""
        standing = self._writer.standing(leaf)
        if standing is None:
            return False
        try:
            return self._has_parts(standing, parts) and self._writer.adopt(standing, leaf)
        except OSError:
            return False  # it is unreadable or not ours: it is replaced, or that fails and is complained of
        finally:
            os.close(standing)

    def _has_parts(self, standing: int, parts: Sequence[Hole | Extent]) -> bool:
        """Whether the file has these bytes, and holes or zeros for holes: its file system may have larger blocks."""
        at = 0
        for part in parts:
            if isinstance(part, Hole):
                if not _is_zero(standing, at, part.size_bytes):
                    return False
            elif not _same_bytes(standing, at, self._contents.opened(part.content), part):
                return False
            at += part.size_bytes
        return True


def _is_zero(standing: int, begin: int, length: int) -> bool:
    for run in segments(standing, length, begin) or [Segment(begin, length, False)]:
        for at in range(run.offset, run.offset + run.length, _COMPARE_BYTES) if not run.hole else ():
            size = min(_COMPARE_BYTES, run.offset + run.length - at)
            if os.pread(standing, size, at) != bytes(size):
                return False
    return True


def _same_bytes(standing: int, begin: int, content: int, part: Extent) -> bool:
    if begin == part.offset and os.path.sameopenfile(standing, content):
        return True  # the copy before made this link
    done = 0
    while done < part.size_bytes:
        size = min(part.size_bytes - done, _COMPARE_BYTES)
        here, there = os.pread(standing, size, begin + done), os.pread(content, size, part.offset + done)
        if here != there or not here:
            return False
        done += len(here)
    return True


def _copy(content: int, to: int, part: Extent) -> None:
    """Copy by copy_file_range(2), which shares blocks if the file system can."""
    done = 0
    while done < part.size_bytes:
        size, offset = min(part.size_bytes - done, _COPY_BYTES), part.offset + done
        try:
            copied = os.copy_file_range(content, to, size, offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            # Across file systems before 5.3 and after 5.19, and if one of the two does not take part.
            copied = os.sendfile(to, content, offset, size)
        if copied == 0:
            raise OSError(errno.EIO, "the bundle in the store became shorter while it was being copied")
        done += copied


def _steps(tree: int) -> Iterator[Step]:
    """The index.  Raises: PeerError if it is none."""
    reader = StepReader()
    handle = os.open(INDEX, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree)
    try:
        while data := os.read(handle, _INDEX_READ_BYTES):
            for step in reader.feed(data):
                if isinstance(step, memoryview) or (isinstance(step, Leaf) and not step.sparse and not step.content):
                    raise PeerError("the index of the bundle is not one of a gproc cp")
                yield step
    finally:
        os.close(handle)


def _tops(tree: int) -> list[_Source]:
    """The sources.  Raises: PeerError if the folders of the index do not fit in one another."""
    depth = 0
    tops: list[_Source] = []
    last: Step | None = None
    for step in _steps(tree):
        if depth == 0 and isinstance(step, _Source):
            tops.append(step)
        elif isinstance(step, Folder) and step.name == ITSELF:
            raise PeerError("the index of the bundle has a directory without a name")
        depth += 1 if isinstance(step, Folder) else -1 if isinstance(step, Leave) else 0
        if depth < 0:
            raise PeerError("the index of the bundle leaves a directory that it never entered")
        last = step
    if depth or not tops or not isinstance(last, End):
        raise PeerError("the index of the bundle is not complete")
    return tops


def _destination(to: bytes, tops: list[_Source]) -> tuple[int, bytes, bytes]:
    """The directory that everything goes into, opened; its path; and the name that the one source gets, if any.

    The rules are those of cp(1).
    """
    try:
        facts = os.stat(to)
    except FileNotFoundError:
        facts = None
    if facts is not None and stat.S_ISDIR(facts.st_mode):
        return open_directory(to), to, b""
    if len(tops) > 1:
        raise OSError(errno.ENOTDIR, "this is no directory, but several sources are to go into it: make it first")
    if to.endswith(b"/") and not isinstance(tops[0], Folder):
        raise OSError(errno.ENOTDIR, "this is no directory: make it first, or leave out the slash at its end")
    if facts is not None and isinstance(tops[0], Folder):
        raise OSError(errno.ENOTDIR, "this is not a directory, and a directory cannot replace it")
    above, _, name = to.rstrip(b"/").rpartition(b"/")
    return open_directory(above or b"/"), above or b"/", name
