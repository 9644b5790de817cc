"""Reads files as chunks: each with the digest that names it."""

from __future__ import annotations

import errno
import os
from typing import Final

from gproc.content.holes import data_from
from gproc.content.manifest import CHUNK_BYTES, digest_of, zeros_digest

SIDE_BY_SIDE: Final = 2
"""Threads that read and hash a long file.  Neither the kernel nor BLAKE3 needs Python's lock for that."""

SPAN_BYTES: Final = 8 << 20
"""What a thread reads at a time.  A shorter file is read by the caller: to start threads takes longer."""


class SoFar:
    """What this process has read to name it, in bytes: for a person who watches."""

    def __init__(self) -> None:
        self.size_bytes = 0


so_far: Final = SoFar()


def read_at(handle: int, length: int, offset: int) -> bytes:
    """Exactly `length` bytes from `offset` on.  Raises: OSError, also if the file ends before."""
    data = os.pread(handle, length, offset)
    while len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, "became shorter while it was being read")
        data += more
    return data


def digests_of(handle: int, begin: int, end: int) -> bytes:
    """The digest of each chunk of a file from `begin` to `end`, one behind the other.

    Raises: OSError, also if the file ends before `end`.
    """
    if end - begin < 2 * SPAN_BYTES:
        so_far.size_bytes += end - begin
        return _digests(handle, begin, end)
    from concurrent.futures import ThreadPoolExecutor  # 4 ms: only long files need it

    found = bytearray()
    with ThreadPoolExecutor(SIDE_BY_SIDE, "gproc-digests") as threads:
        spans = range(begin, end, SPAN_BYTES)
        for digests in threads.map(lambda at: _digests(handle, at, min(at + SPAN_BYTES, end)), spans):
            found += digests
            so_far.size_bytes += min(SPAN_BYTES, end - begin)
    return bytes(found)


def _digests(handle: int, begin: int, end: int) -> bytes:
    found: list[bytes] = []
    status = os.fstat(handle)
    size = status.st_size
    sparse = status.st_blocks * 512 < size
    data_at = begin
    for at in range(begin, end, CHUNK_BYTES):
        length = min(CHUNK_BYTES, end - at)
        if sparse and at >= data_at:
            data_at = data_from(handle, at)
        is_hole = at + length <= min(data_at, size)
        found.append(zeros_digest(length) if is_hole else digest_of(read_at(handle, length, at)))
    return b"".join(found)
