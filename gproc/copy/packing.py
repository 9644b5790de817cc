"""Makes a bundle of the sources: each content once, and an index that says where it goes.

Two files with the same bytes are sent and stored once, and a renamed file is not sent again.  A large content is a file
of the bundle, named by its digest.  Small contents share packs (`gproc.copy.packs`).  In the store, all of it belongs
to the caller and nobody else can read it.  Owners, modes and times are in the index.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from gproc.bundle.surroundings import working_directory
from gproc.bundle.unsized import SMALL_BYTES, UNSIZED_BYTES_MAX, read_small
from gproc.content import reading
from gproc.content.holes import Segment, segments
from gproc.content.manifest import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    PERMISSION_BITS,
    Digest,
    File,
    Manifest,
    chunks_of,
    digest_of,
    encode,
)
from gproc.content.reading import digests_of, read_at
from gproc.copy import attributes
from gproc.copy.packs import Packs, Spot
from gproc.copy.source import Missed, TreeReader, name_of
from gproc.copy.steps import INDEX, ITSELF, NUMBERED_MAX, End, Extent, Hole, Leaf, Step, Whole, step_frame
from gproc.errors import BundleError, UsageError
from gproc.packager import Bundle, SourceStamp
from gproc.shown import shown
from gproc.wire.frames import MAX_BLOB_BYTES

_CALLERS_ALONE: Final = 0o400

CHANGED: Final = "changed while it was being sent; copy it again when nothing writes to it"


def pack(sources: Sequence[str], missed: Missed, leave_out: Collection[bytes] = ()) -> Bundle | None:
    """The bundle that `gproc.copy.placing` unpacks; None if nothing of the sources could be read.

    missed: called for each file that cannot be read; the rest is packed.  leave_out: absolute paths, as of `changed`.
    Raises: UsageError for two sources of one name; BundleError for too many files.
    """
    check_names(sources)
    packing = _Packing(missed, leave_out)
    for source in sources:
        packing.add(os.fsencode(source))
    return packing.bundle()


def check_names(sources: Sequence[str]) -> None:
    """Raises: UsageError for two sources of one name."""
    names: dict[bytes, str] = {}
    for source in sources:
        name = name_of(os.fsencode(source))
        if name != ITSELF and name in names:
            both = f"{shown(os.fsencode(names[name]))} and {shown(os.fsencode(source))}"
            raise UsageError(f"{both} would both be {shown(name)}: copy them one by one")
        names[name] = source


def changed(bundle: Bundle) -> list[bytes]:
    """The files, by absolute path, whose bytes are not those that were packed: a job with the bundle must fail."""
    found: dict[bytes, None] = {}
    for file in bundle.manifest.files():
        path = bundle.sources.get(file.path, b"")
        if path and path not in found and not _is_as_packed(bundle, file, path):
            found[path] = None
    return list(found)


def _is_as_packed(bundle: Bundle, file: File, path: bytes) -> bool:
    stamp = bundle.stamps.get(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if stamp is not None and stamp.holds(os.fstat(handle)):
            return True
        base = bundle.bases.get(file.path, 0)
        return all(digest_of(read_at(handle, length, base + at)) == digest for digest, at, length in file.chunks())
    except OSError:
        return False
    finally:
        os.close(handle)


class _Packing:
    def __init__(self, missed: Missed, leave_out: Collection[bytes]) -> None:
        kinds = attributes.ROOTS if os.geteuid() == 0 else attributes.USERS
        self._source = TreeReader(missed, kinds=kinds, special=True, numbered_max=NUMBERED_MAX)
        self._missed = missed
        self._leave_out = frozenset(leave_out)
        self._owner = os.geteuid(), os.getegid()
        self._index = bytearray()
        self._files: dict[bytes, File] = {}
        self._places: dict[bytes, bytes] = {}
        self._bases: dict[bytes, int] = {}
        self._stamps: dict[bytes, SourceStamp] = {}
        self._unsized: dict[bytes, bytes] = {}
        self._unsized_bytes = 0
        self._packs = Packs()
        self._cwd = b""

    def add(self, source: bytes) -> None:
        if not source.startswith(b"/"):
            self._cwd = os.fsencode(working_directory())
        for seen in self._source.walk(source):
            steps: Sequence[Step] = (seen.step,)
            if isinstance(seen.step, Leaf):
                try:
                    steps = self._content(seen.step, seen.handle, os.path.join(self._cwd, seen.path))
                except OSError as error:
                    self._source.forget()
                    self._missed(seen.path, error)
                    continue
            for step in steps:
                self._index += step_frame(step)

    def bundle(self) -> Bundle | None:
        if not self._index:
            return None
        made = self._packs.whole() | self._unsized | {INDEX: bytes(self._index + step_frame(End()))}
        pieces: dict[Digest, bytes] = {}
        for name, content in made.items():
            digests = bytearray()
            for digest, piece in chunks_of(content):
                pieces[digest] = piece
                digests += digest
            self._files[name] = self._file(name, len(content), bytes(digests))
        entries = tuple(self._files[name] for name in sorted(self._files))
        encoded = encode(Manifest(b"", b"", (), (), (), (0, 0), entries))
        if len(encoded) > MAX_BLOB_BYTES:
            raise BundleError(f"{len(entries)} different files are too many for one copy: copy parts of the tree")
        return Bundle(encoded, digest_of(encoded), self._places, {}, pieces, self._bases, self._stamps)

    def _content(self, leaf: Leaf, handle: int, place: bytes) -> list[Step]:
        """Take the bytes in.  Returns the leaf, with its content's place in the bundle, and the steps after it."""
        if place in self._leave_out:
            raise OSError(errno.EBUSY, CHANGED)
        if leaf.sparse and (parts := segments(handle, leaf.size_bytes)) is not None:
            return [leaf, *self._sparse(parts, handle, place), Whole()]
        size_bytes = leaf.size_bytes
        spot = None
        if size_bytes <= SMALL_BYTES:
            data = read_small(handle)
            reading.so_far.size_bytes += len(data)
            spot = self._packs.put(data)
            if spot is None and len(data) != size_bytes:
                spot = self._keep_unsized(data)
            size_bytes = len(data)
        if spot is None:
            spot = Spot(self._large(handle, 0, size_bytes, place, leaf), 0)
        return [_placed(leaf, size_bytes, spot)]

    def _sparse(self, parts: list[Segment], handle: int, place: bytes) -> Iterator[Hole | Extent]:
        for part in parts:
            if part.hole:
                yield Hole(part.length)
                continue
            spot = None
            if part.length <= SMALL_BYTES:
                spot = self._packs.put(read_at(handle, part.length, part.offset))
            if spot is None:
                spot = Spot(self._large(handle, part.offset, part.length, place), 0)
            yield Extent(part.length, *spot)

    def _large(self, handle: int, begin: int, length: int, place: bytes, leaf: Leaf | None = None) -> bytes:
        """Take in `length` bytes from `begin` on, which are read again when they are sent.  Returns the content's name.

        leaf: the file, if these are all of its bytes.  Then a store keeps them with the file's mode and time, so that a
        node can give the copy a hard link to its own file (`gproc.copy.placing`).
        """
        stamp = SourceStamp.of(os.fstat(handle), time.time_ns())
        digests = digests_of(handle, begin, begin + length)
        name = digest_of(length.to_bytes(8) + digests).hex().encode()
        if name not in self._files:
            self._files[name] = self._file(name, length, bytes(digests), leaf)
            self._places[b"/" + name] = place
            if begin:
                self._bases[b"/" + name] = begin
            if self._stamps.setdefault(place, stamp) != stamp:
                del self._stamps[place]  # it changed between two of its extents
        return name

    def _keep_unsized(self, data: bytes) -> Spot:
        name = b"read-%d" % len(self._unsized)
        if self._unsized_bytes + len(data) > UNSIZED_BYTES_MAX:
            told = f"does not say its size, and more than {UNSIZED_BYTES_MAX >> 20} MiB of such files are too many"
            raise OSError(errno.EFBIG, told)
        self._unsized_bytes += len(data)
        self._unsized[name] = data
        return Spot(name, 0)

    def _file(self, name: bytes, size_bytes: int, digests: bytes, leaf: Leaf | None = None) -> File:
        assert len(digests) == -(-size_bytes // CHUNK_BYTES) * DIGEST_BYTES
        mode, mtime_ns = _CALLERS_ALONE, 0
        if leaf is not None and leaf.mode & _CALLERS_ALONE:
            mode, mtime_ns = leaf.mode & PERMISSION_BITS, leaf.mtime_ns
        return File(b"/" + name, mode, *self._owner, size_bytes, mtime_ns, digests)


def _placed(leaf: Leaf, size_bytes: int, spot: Spot) -> Leaf:
    return msgspec.structs.replace(leaf, size_bytes=size_bytes, content=spot.pack, offset=spot.offset, sparse=False)
