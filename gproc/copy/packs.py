"""Small contents put together in packs, so that ten thousand files are not ten thousand chunks.  Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from gproc.content.manifest import CHUNK_BYTES, Digest, digest_of

SMALL_BYTES: Final = 32 << 10
"""A content up to this size goes into a pack.  A chunk costs a copy to one node some 0.25 ms, whatever its size, and
32 KiB take as long at 1 Gbit/s."""

MEAN_BYTES: Final = 256 << 10
"""The average size of a pack.  This many bytes are sent again if one small file has changed."""

HELD_BYTES_MAX: Final = 64 << 20
"""The most bytes of all packs: they stay in memory until they are sent.  Further contents get their own chunks."""

assert SMALL_BYTES < CHUNK_BYTES


class Spot(NamedTuple):
    """The place of a content: a file of the bundle, and the offset in it."""

    pack: bytes
    offset: int


class Packs:
    """Contents in the order in which they are given, each once, in packs of at most a chunk.

    The digest of its last content decides where a pack ends.  So if a content is changed, added or removed, one pack
    changes, or two are joined.  The others keep their digests and are not sent again.
    """

    def __init__(self) -> None:
        self._ended: list[bytes] = []
        self._open: bytearray | None = None
        self._spots: dict[Digest, Spot] = {}
        self._held_bytes = 0

    def put(self, content: bytes) -> Spot | None:
        """The content's place in a pack; None if it is too large, or the packs are full."""
        if len(content) > SMALL_BYTES:
            return None
        digest = digest_of(content)
        if (known := self._spots.get(digest)) is not None:
            return known
        if self._held_bytes + len(content) > HELD_BYTES_MAX:
            return None
        if self._open is not None and len(self._open) + len(content) > CHUNK_BYTES:
            self._end(self._open)
        pack = self._open = bytearray() if self._open is None else self._open
        spot = self._spots[digest] = Spot(_name(len(self._ended)), len(pack))
        pack += content
        self._held_bytes += len(content)
        if int.from_bytes(digest[:4]) * MEAN_BYTES < len(content) << 32:
            self._end(pack)
        return spot

    def whole(self) -> dict[bytes, bytes]:
        """Every pack by its name, with what it has so far."""
        if self._open is not None:
            self._end(self._open)
        return {_name(number): pack for number, pack in enumerate(self._ended)}

    def _end(self, pack: bytearray) -> None:
        self._ended.append(bytes(pack))
        self._open = None


def _name(number: int) -> bytes:
    """A pack's name.  It differs from the names of other contents, which are hexadecimal."""
    return b"pack-%d" % number
