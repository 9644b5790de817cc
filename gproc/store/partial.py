"""A bundle while it is received: its tree is laid out with holes, filled chunk by chunk, then made final."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gproc.content.holes import data_from
from gproc.content.manifest import CHUNK_BYTES, Digest, Directory, File, Manifest, Symlink, digest_of, is_hole
from gproc.disk.public import PublicFiles
from gproc.errors import StoreError
from gproc.shown import reason_of

INLINE_BYTES: Final = 8 << 20
REASON_CHARACTERS: Final = 400
"""The limit of the disk's reason."""

INLINE_ENTRIES: Final = 500
"""A bundle up to both is laid out, finished and hashed in the event loop: some 20 ms.  A larger one in a thread."""

PLACES_AT_ONCE: Final = 4
"""Places that a chunk is written to as it comes.  A manifest of 1 MB can name one chunk 30,000 times: the rest are
written when all chunks are here, by the thread that finishes the bundle."""

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

InodeStamp = tuple[int, int, int, int, int, int]
"""What a file's or link's inode says of it: number, size, mtime, mode, uid, and at last its ctime, which changes with
all of these, with what is in it, and with the number of its names."""


NamesTwin = Callable[[File, bytes], bool]
"""Makes a path a name of a file of the store that is just as this one is to be; False if there is none."""


class Owner(NamedTuple):
    """The user and group that own the files of a root."""

    uid: int
    gid: int

    def of(self, entry: Directory | File) -> tuple[int, int]:
        """The user and group to which root gives an entry: what was root's at home is root's here."""
        return (0, 0) if entry.uid == 0 else self


class PartialBundle:
    """The tree of one bundle for one owner, below `tree`, with `missing` chunks.

    If an earlier try was interrupted, its files are hashed, and only the chunks that do not fit are missing.
    """

    def __init__(self, tree: bytes, manifest: Manifest, encoded: bytes, owner: Owner, lock: int = -1) -> None:
        """encoded: the manifest in the form that names the bundle.  lock: the handle that keeps other processes out."""
        self.tree = tree
        self.manifest = manifest
        self.encoded = encoded
        self.owner = owner
        self.lock = lock
        self.is_useless = False
        """What was received is not to be kept for the next try: the disk is full, or another process was faster."""
        self.missing: dict[Digest, list[tuple[File, int]]] = {}
        self.present: dict[Digest, tuple[bytes, int, int]] = {}
        self.is_large = is_large(manifest)
        self._owed: list[tuple[Digest, list[tuple[File, int]]]] = []
        """Chunks that are here, and the places to which they must still be written."""
        self._named: set[bytes] = set()
        """Files that are another bundle's too: they have their owner, mode and time."""
        self._stamps: list[InodeStamp] | None = None

    def lay_out(self, find: Callable[[Digest], bytes | None], named: NamesTwin | None = None) -> None:
        """Make directories, links and files, and fill them with the chunks that this machine has.

        A whole chunk of zeros is here already: it is a hole.

        find: gives a chunk that another root of this store holds.  named: gives a further name to a file of this
        store that is just so (`gproc.store.twins`).  A file that this machine has identically at the
        same path is copied from there, if every user may read it: a user who learns which chunks are missing must not
        learn what is in a file of root's.  Raises: StoreError if the disk does not let us.
        """
        try:
            with PublicFiles() as public:
                for entry in self.manifest.entries:
                    place = self.tree + entry.path
                    match entry:
                        case Directory():
                            make_directory(place)
                        case Symlink():
                            make_symlink(place, entry.target)
                        case File() if named is not None and self._is_named(place, entry, named):
                            pass
                        case File():
                            self._begin_file(place, entry, find, public)
        except OSError as error:
            self.is_useless = True  # the next try would fail alike
            raise self._failed("cannot lay out a bundle", error) from error

    def admit(self, digest: Digest, content: Sequence[bytes | memoryview]) -> bool:
        """Write one chunk, already verified and in consecutive parts, to its places.  Returns whether it was missing.

        Raises: StoreError if the disk is full or fails, or if the manifest gives this chunk another length.
        """
        places = self.missing.get(digest)
        if places is None:
            return False
        length = sum(map(len, content))
        if any(length != chunk_length(file, offset) for file, offset in places):
            raise StoreError(f"the chunk {digest.hex()} does not have the length that its manifest says")
        try:
            if len(places) > PLACES_AT_ONCE:
                self._owed.append((digest, places[PLACES_AT_ONCE:]))
            for file, offset in places[:PLACES_AT_ONCE]:
                place = self.tree + file.path
                handle = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    write_parts(handle, content, offset)
                finally:
                    os.close(handle)
                self.present[digest] = (place, offset, length)
        except OSError as error:
            raise self._failed("cannot keep a chunk", error) from error
        del self.missing[digest]
        return True

    def received_bytes(self) -> int:
        return sum(length for _, _, length in self.present.values())

    def finish(self) -> list[InodeStamp]:
        """Give everything its content, and its final mode, owner and time, children before parents.

        Only root and `owner` ever own an entry, and no mode bit beyond permissions was let in.  So a bundle cannot
        bring a program that runs with more rights than its caller's.  May run in another thread.  Returns the
        stamps of files and links, in the manifest's order; a second call does nothing else.
        """
        assert not self.missing
        if self._stamps is None:
            self._write_owed()
            self._settle()
            entries = (entry for entry in self.manifest.entries if not isinstance(entry, Directory))
            self._stamps = [stamp_of(self.tree + entry.path) for entry in entries]
        return self._stamps

    def _write_owed(self) -> None:
        try:
            for digest, places in self._owed:
                source, at, length = self.present[digest]
                with open(source, "rb") as file:
                    data = read_verified(file.fileno(), at, length, digest)
                if data is None:
                    raise StoreError("a chunk of a bundle was changed while the bundle was received")
                for entry, offset in places:
                    handle = os.open(self.tree + entry.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        write_all(handle, data, offset)
                    finally:
                        os.close(handle)
        except OSError as error:
            raise self._failed("cannot keep a chunk", error) from error
        self._owed.clear()

    def _settle(self) -> None:
        privileged = os.geteuid() == 0
        try:
            for entry in reversed(self.manifest.entries):
                place = self.tree + entry.path
                if place in self._named:
                    continue
                if isinstance(entry, Symlink):
                    if privileged:
                        os.lchown(place, *self.owner)
                    continue
                if privileged:
                    os.lchown(place, *self.owner.of(entry))
                os.chmod(place, entry.mode)
                if isinstance(entry, File):
                    os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))
        except (OSError, OverflowError) as error:  # a hostile manifest may have times that no clock shows
            raise self._failed("cannot finish a bundle", error) from error

    def _failed(self, what: str, error: OSError | OverflowError) -> StoreError:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            self.is_useless = True
        return disk_error(what, error, os.path.dirname(os.path.dirname(os.path.dirname(self.tree))))

    def _is_named(self, place: bytes, file: File, named: NamesTwin) -> bool:
        # What an earlier try has named is another bundle's too: nothing may be written to it.
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(place).st_nlink > 1:
                os.unlink(place)
        if not named(file, place):
            return False
        self._named.add(place)
        for digest, offset, length in file.chunks():
            self.present[digest] = (place, offset, length)
        return True

    def _begin_file(
        self, place: bytes, file: File, find: Callable[[Digest], bytes | None], public: PublicFiles
    ) -> None:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            resumed = os.fstat(handle).st_size == file.size_bytes > 0
            if not resumed:
                os.ftruncate(handle, file.size_bytes)
            own = None if resumed else open_own_copy(file, public)
            try:
                for digest, offset, length in file.chunks():
                    data = None
                    if not resumed and is_hole(digest, length):
                        self.present[digest] = (place, offset, length)
                        continue
                    if resumed:
                        data = read_verified(handle, offset, length, digest)
                    elif own is not None and (data := read_verified(own, offset, length, digest)) is not None:
                        write_all(handle, data, offset)
                    if data is None and (data := find(digest)) is not None and len(data) == length:
                        write_all(handle, data, offset)
                    if data is None or len(data) != length:
                        self.missing.setdefault(digest, []).append((file, offset))
                    else:
                        self.present[digest] = (place, offset, length)
            finally:
                if own is not None:
                    os.close(own)
        finally:
            os.close(handle)


def disk_error(what: str, error: OSError | OverflowError, store: bytes) -> StoreError:
    """Words for an error of the disk that has the store."""
    if not isinstance(error, OSError) or error.errno not in DISK_FULL:
        return StoreError(f"{what}: {_shortened(reason_of(error))}")
    return StoreError(
        f"{what}: {error.strerror}: the disk of the store {os.fsdecode(store)} is full; "
        "make room there, or give the node another --store"
    )


def _shortened(text: str) -> str:
    """A path may have 4,096 bytes: its two ends say which one it is."""
    half = REASON_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}...{text[-half:]}"


def is_large(manifest: Manifest) -> bool:
    """Whether work on each of its files takes longer than an event loop may."""
    return len(manifest.entries) > INLINE_ENTRIES or manifest.size_bytes() > INLINE_BYTES


def stamp_of(path: bytes) -> InodeStamp:
    info = os.lstat(path)
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_mode, info.st_uid, info.st_ctime_ns


def chunk_length(file: File, offset: int) -> int:
    return min(CHUNK_BYTES, file.size_bytes - offset)


def open_own_copy(file: File, public: PublicFiles) -> int | None:
    """The machine's own public file at this path, if it has the same size."""
    handle = public.open(file.path) if file.size_bytes else None
    if handle is not None and os.fstat(handle).st_size != file.size_bytes:
        os.close(handle)
        return None
    return handle


def read_verified(handle: int, offset: int, length: int, digest: Digest) -> bytes | None:
    """The chunk; None if the file has something else at that place."""
    assert length <= CHUNK_BYTES
    if is_hole(digest, length) and data_from(handle, offset) >= offset + length:
        return bytes(length)  # a manifest of 1 MB can name 32 GiB of them
    data = os.pread(handle, length, offset)
    return data if len(data) == length and digest_of(data) == digest else None


def write_all(handle: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view, offset = view[done:], offset + done


def write_parts(handle: int, parts: Sequence[bytes | memoryview], offset: int) -> None:
    length = sum(map(len, parts))
    if os.pwritev(handle, parts, offset) != length:  # a disk that is full, or nearly
        write_all(handle, b"".join(parts), offset)


def make_directory(place: bytes) -> None:
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            raise
        os.chmod(place, 0o700)


def make_symlink(place: bytes, target: bytes) -> None:
    try:
        os.symlink(target, place)
    except FileExistsError:
        if os.readlink(place) != target:
            raise
