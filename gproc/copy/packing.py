"""Sources made into a bundle: each content once, named by what it is, and an index that says where it goes.

Two files of the same bytes travel and are stored once, and a file that was renamed is not sent again.  In the
store all of it belongs to the caller and nobody else can read it; owners, modes and times stand in the index.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from gproc.bundle.manifest import CHUNK_BYTES, DIGEST_BYTES, File, Manifest, digest_of, encode
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
        index = bytes(self._index + step_frame(End()))
        pieces = [index[at : at + CHUNK_BYTES] for at in range(0, len(index), CHUNK_BYTES)]
        digests = b"".join(map(digest_of, pieces))
        entries = (self._file(INDEX, len(index), digests), *(self._files[name] for name in sorted(self._files)))
        encoded = encode(Manifest(b"", b"", (), (), (), (0, 0), entries))
        if len(encoded) > MAX_BLOB_BYTES:
            raise BundleError(f"{len(entries)} different files are too many for one copy: copy parts of the tree")
        return Bundle(encoded, digest_of(encoded), self._places, {}, {digest_of(piece): piece for piece in pieces})

    def _content(self, leaf: Leaf, handle: int, place: bytes) -> Leaf:
        """Take the bytes in; the leaf with their name, and the size that they really have."""
        digests = bytearray()
        size_bytes = 0
        while data := _read_chunk(handle):
            digests += digest_of(data)
            size_bytes += len(data)
        after = os.fstat(handle)
        if (size_bytes, after.st_mtime_ns) != (leaf.size_bytes, leaf.mtime_ns):
            raise BundleError(f"{shown(place)}: changed while it was being read; copy it when nothing writes to it")
        name = digest_of(size_bytes.to_bytes(8) + digests).hex().encode()
        if name not in self._files:
            self._files[name] = self._file(name, size_bytes, bytes(digests))
            self._places[b"/" + name] = place
        return msgspec.structs.replace(leaf, content=name)

    def _file(self, name: bytes, size_bytes: int, digests: bytes) -> File:
        assert len(digests) == -(-size_bytes // CHUNK_BYTES) * DIGEST_BYTES
        return File(b"/" + name, _CALLERS_ALONE, *self._owner, size_bytes, 0, digests)


def _read_chunk(handle: int) -> bytes:
    """As much as a chunk has, or up to the end."""
    data = os.read(handle, CHUNK_BYTES)
    while 0 < len(data) < CHUNK_BYTES and (more := os.read(handle, CHUNK_BYTES - len(data))):
        data += more
    return data


def _unreadable(path: bytes, error: OSError) -> NoReturn:
    raise BundleError(f"{shown(path)}: cannot be copied: {error.strerror}") from error
