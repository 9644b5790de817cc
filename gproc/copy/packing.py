"""Sources made into a bundle: each content once, and an index that says where it goes.

Two files of the same bytes travel and are stored once, and what did not change is not sent again under a new name: a
large content is a file named by what it is, small ones share packs (`gproc.copy.packs`).  In the store all of it
belongs to the caller and nobody else can read it; owners, modes and times stand in the index.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from gproc.content.manifest import CHUNK_BYTES, DIGEST_BYTES, Digest, File, Manifest, digest_of, encode
from gproc.copy.packs import Packs
from gproc.copy.shown import shown
from gproc.copy.source import name_of, walk
from gproc.copy.steps import INDEX, ITSELF, End, Leaf, step_frame
from gproc.errors import BundleError, UsageError
from gproc.packager import Bundle
from gproc.wire.frames import MAX_BLOB_BYTES

_CALLERS_ALONE: Final = 0o400


def pack(sources: Sequence[str]) -> Bundle:
    """The bundle that `gproc.copy.placing` unpacks.

    Raises: UsageError for two sources of one name; BundleError for what cannot be read, or changes meanwhile.
    """
    packing = _Packing()
    names: dict[bytes, str] = {}
    for source in sources:
        name = name_of(os.fsencode(source))
        if name != ITSELF and name in names:
            raise UsageError(f"{names[name]} and {source} would both be {shown(name)}: copy them one by one")
        names[name] = source
        packing.add(os.fsencode(source))
    return packing.bundle()


class _Packing:
    def __init__(self) -> None:
        self._owner = os.geteuid(), os.getegid()
        self._index = bytearray()
        self._files: dict[bytes, File] = {}
        self._places: dict[bytes, bytes] = {}
        self._packs = Packs()
        self._cwd = os.fsencode(os.getcwd())

    def add(self, source: bytes) -> None:
        for seen in walk(source, _unreadable):
            step = seen.step
            if isinstance(step, Leaf):
                place = os.path.join(self._cwd, seen.path)
                try:
                    step = self._content(step, seen.handle, place)
                except OSError as error:
                    _unreadable(seen.path, error)
            self._index += step_frame(step)

    def bundle(self) -> Bundle:
        made = self._packs.whole() | {INDEX: bytes(self._index + step_frame(End()))}
        pieces: dict[Digest, bytes] = {}
        for name, content in made.items():
            digests = bytearray()
            for at in range(0, len(content), CHUNK_BYTES):
                piece = content[at : at + CHUNK_BYTES]
                digest = digest_of(piece)
                pieces[digest] = piece
                digests += digest
            self._files[name] = self._file(name, len(content), bytes(digests))
        entries = tuple(self._files[name] for name in sorted(self._files))
        encoded = encode(Manifest(b"", b"", (), (), (), (0, 0), entries))
        if len(encoded) > MAX_BLOB_BYTES:
            raise BundleError(f"{len(entries)} different files are too many for one copy: copy parts of the tree")
        return Bundle(encoded, digest_of(encoded), self._places, {}, pieces)

    def _content(self, leaf: Leaf, handle: int, place: bytes) -> Leaf:
        """Take the bytes in; the leaf with the place where they lie."""
        data = _read_chunk(handle, leaf.size_bytes)
        spot = self._packs.put(data)
        if spot is not None:
            _check_unchanged(leaf, handle, place, len(data))
            return msgspec.structs.replace(leaf, content=spot.pack, offset=spot.offset)
        digests = bytearray()
        size_bytes = 0
        while data:
            digests += digest_of(data)
            size_bytes += len(data)
            # What grows faster than it is read has no end.
            data = _read_chunk(handle, leaf.size_bytes - size_bytes) if size_bytes <= leaf.size_bytes else b""
        _check_unchanged(leaf, handle, place, size_bytes)
        name = digest_of(size_bytes.to_bytes(8) + digests).hex().encode()
        if name not in self._files:
            self._files[name] = self._file(name, size_bytes, bytes(digests))
            self._places[b"/" + name] = place
        return msgspec.structs.replace(leaf, content=name)

    def _file(self, name: bytes, size_bytes: int, digests: bytes) -> File:
        assert len(digests) == -(-size_bytes // CHUNK_BYTES) * DIGEST_BYTES
        return File(b"/" + name, _CALLERS_ALONE, *self._owner, size_bytes, 0, digests)


def _check_unchanged(leaf: Leaf, handle: int, place: bytes, size_bytes: int) -> None:
    """Raises: BundleError where what was read is not what was seen before."""
    if (size_bytes, os.fstat(handle).st_mtime_ns) != (leaf.size_bytes, leaf.mtime_ns):
        raise BundleError(f"{shown(place)}: changed while it was being read; copy it when nothing writes to it")


def _read_chunk(handle: int, left_bytes: int) -> bytes:
    """As much as a chunk has, or up to the end; one byte past `left_bytes`, its expected end, shows that it grew."""
    size = min(CHUNK_BYTES, left_bytes + 1)
    data = os.read(handle, size)
    while 0 < len(data) < size and (more := os.read(handle, size - len(data))):
        data += more
    return data


def _unreadable(path: bytes, error: OSError) -> NoReturn:
    raise BundleError(f"{shown(path)}: cannot be copied: {error.strerror}") from error
