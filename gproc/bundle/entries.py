"""The entries of a bundle, collected file by file: each at its real path, with the links that lead there.

`entries` reads and hashes every file, and notices if one changes meanwhile.  A guess is left out then, and one that was
written lately is held in memory, so that nothing fails if somebody writes to it while it is sent.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final

from gproc.bundle.image import Image, ImageLink, Walk
from gproc.bundle.unsized import SMALL_BYTES, UNSIZED_BYTES_MAX, read_small
from gproc.content.manifest import PERMISSION_BITS, Digest, Directory, Entry, File, Symlink, chunks_of, nanoseconds
from gproc.content.reading import digests_of
from gproc.errors import BundleError

Omit = Callable[[str], bool]

_LATELY_NS: Final = 60 * 10**9
_HELD_BYTES_MAX: Final = 32 << 20
"""Of all files that are held; a log that is written meanwhile is one of those that were written last."""


class BundleEntries:
    """The files, links and directories of a bundle; `reasons` says for people why each is there, by real path."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._files: set[str] = set()
        self._links: dict[str, ImageLink] = {}
        self._directories: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.made: dict[Digest, bytes] = {}
        """The chunks of files that do not report their size, which might differ if they were read again."""

        self.held: dict[Digest, bytes] = {}
        """The chunks of guesses that were written lately."""

        self._guessed: set[str] = set()
        self._left_held = _HELD_BYTES_MAX

    def add(self, path: str, reason: str, *, guessed: bool = False) -> str:
        """Add the file that an absolute path leads to, and the links on the way.  A directory is added empty.

        guessed: it is left out again if it cannot be read, or is gone, when its turn comes.
        Returns the real path.  Raises: BundleError if it does not exist, or is neither file nor directory.
        """
        walk = self._image.walk(path)
        if walk is None:
            raise BundleError(f"{self._image.shown(path)}: no such file or directory")
        was_there = walk.real in self._files and walk.real not in self._guessed
        self._add_links(walk, reason)
        self._add_found(walk.real, walk.status, reason)
        if guessed and not was_there:
            self._guessed.add(walk.real)
        return walk.real

    def add_tree(self, path: str, reason: str, omit: Omit = lambda _: False) -> str:
        """As `add`, with everything below a directory.  Links in it are added, with the files that they lead to.

        FIFOs, sockets and devices in it are left out: nobody is at their other end on a node, and an editor's socket
        must not keep a whole tree from being sent.
        omit: returns whether to leave a real path out.
        """
        top = self.add(path, reason)
        todo = [top]
        while todo:
            directory = todo.pop()
            for name in self._image.names(directory):
                here = f"{directory.rstrip('/')}/{name}"
                status = self._image.lstat(here)
                if status is None or omit(here):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    todo.append(here)
                if stat.S_ISLNK(status.st_mode):
                    self._add_linked(here, reason)
                elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                    self._add_found(here, status, reason)
        return top

    def paths(self) -> Iterator[str]:
        """Real paths of all files and links so far."""
        yield from self._files
        yield from self._links

    def encoded_reasons(self) -> dict[bytes, str]:
        return {os.fsencode(path): reason for path, reason in self.reasons.items()}

    def entries(self) -> tuple[tuple[Entry, ...], dict[bytes, bytes]]:
        """All entries, parents before children, and the path that each file is read from.

        Raises: BundleError for a file that cannot be read, or changes while it is read.
        """
        entries: dict[str, Entry] = {}
        sources: dict[bytes, bytes] = {}
        for path in self._directories:
            try:
                entries[path] = self._directory(path)
            except BundleError:
                if path not in self._guessed:
                    raise
        for path, link in self._links.items():
            entries[path] = Symlink(os.fsencode(path), os.fsencode(link.target))
        for path in self._files:
            try:
                entries[path] = self._file(path)
            except BundleError:
                if path not in self._guessed:
                    raise
                continue
            sources[os.fsencode(path)] = os.fsencode(self._image.host(path))
        ordered = sorted(entries.values(), key=lambda entry: entry.path)
        return tuple(ordered), sources

    def _add_links(self, walk: Walk, reason: str) -> None:
        for link in walk.links:
            if link.path not in self._links:
                self._links[link.path] = link
                self.reasons.setdefault(link.path, f"leads to {walk.real} ({reason})")
                self._add_parents(link.path)

    def _add_linked(self, path: str, reason: str) -> None:
        link = self._image.link(path)
        self._links[link.path] = link
        self.reasons.setdefault(path, reason)
        walk = self._image.walk(path)
        if walk is not None and stat.S_ISREG(walk.status.st_mode):
            self._add_links(walk, reason)
            self._add_found(walk.real, walk.status, reason)

    def _add_found(self, path: str, status: os.stat_result, reason: str) -> None:
        self._guessed.discard(path)
        if stat.S_ISREG(status.st_mode):
            self._files.add(path)
        elif stat.S_ISDIR(status.st_mode):
            if path != "/":
                self._directories.add(path)
        else:
            raise BundleError(f"{self._image.shown(path)}: only files, directories and links can be packed")
        self.reasons.setdefault(path, reason)
        self._add_parents(path)

    def _add_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent and parent not in self._directories:
            self._directories.add(parent)
            parent = parent.rpartition("/")[0]

    def _directory(self, path: str) -> Directory:
        status = self._image.lstat(path)
        if status is None:
            raise BundleError(f"{self._image.shown(path)}: vanished while it was being packed")
        return Directory(os.fsencode(path), status.st_mode & PERMISSION_BITS, status.st_uid, status.st_gid)

    def _file(self, path: str) -> File:
        host = self._image.host(path)
        try:
            # O_NONBLOCK: if a pipe has replaced the file, opening it must not wait for a writer.
            descriptor = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise BundleError(f"{host}: cannot be read: {error.strerror}") from error
        try:
            before = os.fstat(descriptor)
            if before.st_size <= SMALL_BYTES and (unsized := self._unsized(path, descriptor, before)) is not None:
                return unsized
            held = self._held(path, descriptor, before)
            digests = held or digests_of(descriptor, 0, before.st_size)
            after = os.fstat(descriptor)
        except OSError as error:
            raise BundleError(f"{host}: cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)
        changed = (before.st_mtime_ns, before.st_ctime_ns) != (after.st_mtime_ns, after.st_ctime_ns)
        if not held and (changed or before.st_size != after.st_size):
            raise BundleError(f"{host}: changed while it was being packed; run it again when nothing writes to it")
        self._image.trace_content(path, after)
        mode, mtime_ns = after.st_mode & PERMISSION_BITS, nanoseconds(after.st_mtime_ns)
        return File(os.fsencode(path), mode, after.st_uid, after.st_gid, before.st_size, mtime_ns, digests)

    def _held(self, path: str, descriptor: int, status: os.stat_result) -> bytes:
        """The digests of a file that is held; b"" for one that is not."""
        is_new = max(status.st_mtime_ns, status.st_ctime_ns) > time.time_ns() - _LATELY_NS
        if path not in self._guessed or not is_new or status.st_size > self._left_held:
            return b""
        content = os.pread(descriptor, status.st_size, 0)
        if len(content) < status.st_size:  # somebody cut it off
            return b""
        self._left_held -= len(content)
        return _kept(self.held, content)

    def _unsized(self, path: str, descriptor: int, before: os.stat_result) -> File | None:
        """The file if its size is not the reported one, although nothing changed it; else None."""
        content = read_small(descriptor)
        after = os.fstat(descriptor)
        same = (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
            after.st_mtime_ns, after.st_ctime_ns, after.st_size,
        )  # fmt: skip
        if len(content) == before.st_size or not same:
            return None
        digests = _kept(self.made, content)
        if sum(map(len, self.made.values())) > UNSIZED_BYTES_MAX:
            limit = f"more than {UNSIZED_BYTES_MAX >> 20} MiB of files that do not report their size"
            raise BundleError(f"{self._image.shown(path)}: {limit}")
        mode, mtime_ns = after.st_mode & PERMISSION_BITS, nanoseconds(after.st_mtime_ns)
        return File(os.fsencode(path), mode, after.st_uid, after.st_gid, len(content), mtime_ns, digests)


def _kept(into: dict[Digest, bytes], content: bytes) -> bytes:
    """Keep the chunks of a file's content.  Returns their digests, one after the other."""
    chunks = list(chunks_of(content))
    into.update(chunks)
    return b"".join(digest for digest, _ in chunks)
