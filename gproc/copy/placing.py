"""On a node, as the caller: a bundle of `gproc.copy.packing` put where the caller wants it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

import msgspec

from gproc.copy.shown import shown
from gproc.copy.steps import INDEX, ITSELF, End, Folder, Leaf, Leave, Step, StepReader, SymlinkStep
from gproc.copy.writer import ALL_BITS, STICKY_BITS, Complain, WayLost, Writer, open_directory
from gproc.errors import PeerError

_INDEX_READ_BYTES: Final = 1 << 20
_COPY_BYTES: Final = 8 << 20
"""For each copy_file_range(2): a bound on how long a signal waits."""

_COMPARE_BYTES: Final = 256 << 10


def place(tree: int, to: bytes, complain: Complain) -> None:
    """Put what lies in `tree`, an open directory of the store, at the path `to`, as `cp -a` would.

    Where `to` is a directory, it goes into it; else the one source gets that name.  A file that is there already
    with the same bytes, mode, owner and time is not touched.
    """
    try:
        tops = _tops(tree)
        opened, path, rename = _destination(to, tops)
    except (OSError, PeerError) as error:
        complain(f"{shown(to)}: {error.strerror if isinstance(error, OSError) else error}")
        return
    # Only root may say who runs as whom; another caller's set-id bit would be of no use to him.
    mode_bits = ALL_BITS if os.geteuid() == 0 else STICKY_BITS
    writer = Writer(opened, path, complain, mode_bits=mode_bits)
    contents = _Contents(tree)
    try:
        for step in _steps(tree):
            if rename and writer.depth == 0 and isinstance(step, Folder | Leaf | SymlinkStep):
                step = msgspec.structs.replace(step, name=rename)
            _put(step, writer, contents)
    except WayLost as lost:
        complain(str(lost))
    except OSError as error:
        # The writer has its own way with what goes wrong where it writes.
        complain(f"the bundle in this node's store cannot be read: {error.strerror}")
    finally:
        contents.close()
        writer.close()


class _Contents:
    """The bundle's files, one open at a time: those that share a pack mostly follow each other."""

    def __init__(self, tree: int) -> None:
        self._tree = tree
        self._name = b""
        self._handle = -1

    def opened(self, name: bytes) -> int:
        """A descriptor, good until another one is asked for.  Raises: OSError."""
        if name != self._name:
            self.close()
            self._handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._tree)
            self._name = name
        return self._handle

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._name, self._handle = b"", -1


def _put(step: Step, writer: Writer, contents: _Contents) -> None:
    match step:
        case Folder():
            writer.folder(step)
        case Leave():
            writer.leave()
        case SymlinkStep():
            writer.link(step)
        case Leaf():
            _put_file(step, writer, contents.opened(step.content))


def _put_file(leaf: Leaf, writer: Writer, content: int) -> None:
    if _stands(leaf, writer, content):
        return
    handle = writer.begin(leaf)
    if handle is None:
        return
    try:
        _copy(content, handle, leaf)
    except OSError as error:
        writer.complain(leaf.name, error)
        writer.tear()
        return
    writer.keep()


def _stands(leaf: Leaf, writer: Writer, content: int) -> bool:
    """Whether exactly this file is in its place already."""
    standing = writer.standing(leaf)
    if standing is None:
        return False
    try:
        return _same_bytes(standing, content, leaf) and writer.adopt(standing, leaf)
    except OSError:
        return False  # unreadable or out of our hands: it is replaced, or that fails and is complained of
    finally:
        os.close(standing)


def _same_bytes(standing: int, content: int, leaf: Leaf) -> bool:
    done = 0
    while done < leaf.size_bytes:
        size = min(leaf.size_bytes - done, _COMPARE_BYTES)
        here, there = os.pread(standing, size, done), os.pread(content, size, leaf.offset + done)
        if here != there or not here:
            return False
        done += len(here)
    return True


def _copy(content: int, to: int, leaf: Leaf) -> None:
    """By copy_file_range(2), which shares blocks where the file system can."""
    done = 0
    while done < leaf.size_bytes:
        size, offset = min(leaf.size_bytes - done, _COPY_BYTES), leaf.offset + done
        try:
            copied = os.copy_file_range(content, to, size, offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            # Across file systems before 5.3 and after 5.19, and where one of the two does not take part.
            copied = os.sendfile(to, content, offset, size)
        if copied == 0:
            raise OSError(errno.EIO, "the bundle in the store became shorter while it was being copied")
        done += copied


def _steps(tree: int) -> Iterator[Step]:
    """The index.  Raises: PeerError where it is none."""
    reader = StepReader()
    handle = os.open(INDEX, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree)
    try:
        while data := os.read(handle, _INDEX_READ_BYTES):
            for step in reader.feed(data):
                if isinstance(step, memoryview) or (isinstance(step, Leaf) and not step.content):
                    raise PeerError("the index of the bundle is not one of files to be placed")
                yield step
    finally:
        os.close(handle)


def _tops(tree: int) -> list[Folder | Leaf | SymlinkStep]:
    """The sources.  Raises: PeerError where the folders of the index do not fit in one another."""
    depth = 0
    tops: list[Folder | Leaf | SymlinkStep] = []
    last: Step | None = None
    for step in _steps(tree):
        if depth == 0 and isinstance(step, Folder | Leaf | SymlinkStep):
            tops.append(step)
        elif isinstance(step, Folder) and step.name == ITSELF:
            raise PeerError("the index of the bundle has a directory without a name")
        depth += 1 if isinstance(step, Folder) else -1 if isinstance(step, Leave) else 0
        if depth < 0:
            raise PeerError("the index of the bundle leaves a directory that it never entered")
        last = step
    if depth or not tops or not isinstance(last, End):
        raise PeerError("the index of the bundle is not whole")
    return tops


def _destination(to: bytes, tops: list[Folder | Leaf | SymlinkStep]) -> tuple[int, bytes, bytes]:
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
        raise OSError(errno.ENOTDIR, "no directory, and several things are to go into it: make it first")
    if to.endswith(b"/") and not isinstance(tops[0], Folder):
        raise OSError(errno.ENOTDIR, "no directory: make it first, or leave out the slash at its end")
    if facts is not None and isinstance(tops[0], Folder):
        raise OSError(errno.ENOTDIR, "not a directory; a directory cannot replace it")
    above, _, name = to.rstrip(b"/").rpartition(b"/")
    return open_directory(above or b"/"), above or b"/", name
