"""The entries of a spool file, and what was dropped between them.  Pure.

    entry:  CRC-32 u32 of all that follows | length u32 of the data | rank u32 | kind u8 | offset u64 | time f64 | data

Numbers are big-endian.  Kind 1 and 2 are output; the offset says how many bytes of that stream of that rank come
before, and an entry without data says that alone.  Kind 0 is the end of a rank: its data is its outcome and the sizes
of both streams, as msgpack.  The files of a job, one after the other, are its entries in the order in which they came.
Files may be missing, and output may never have been written: offsets show how much.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from gproc.request.outcome import Outcome
from gproc.wire import frames

_HEAD: Final = struct.Struct("!IIIBQd")
_CRC_BYTES: Final = 4

HEAD_BYTES: Final = _HEAD.size

END: Final = 0

DATA_BYTES_MAX: Final = frames.MAX_STDIO_BYTES


class SpoolEntry(NamedTuple):
    """kind: frames.STDOUT, frames.STDERR or END.  time_s: Unix time."""

    rank: int
    kind: int
    offset: int
    time_s: float
    data: bytes


class EntryHead(NamedTuple):
    """size: bytes of the data."""

    rank: int
    kind: int
    offset: int
    size: int


class RankEnd(msgspec.Struct, frozen=True, array_like=True):
    """The data of an END.  sizes: of standard output and of standard error, written or dropped."""

    outcome: Outcome
    sizes: tuple[int, int]


class Broken(ValueError):
    """Bytes that are no entry."""


def packed(entry: SpoolEntry) -> bytes:
    head = _HEAD.pack(0, len(entry.data), entry.rank, entry.kind, entry.offset, entry.time_s)[_CRC_BYTES:]
    crc = zlib.crc32(entry.data, zlib.crc32(head))
    return b"".join((crc.to_bytes(_CRC_BYTES, "big"), head, entry.data))


def head_of(entry: bytes) -> EntryHead:
    """The head of an entry that `packed` has made."""
    _, size, rank, kind, offset, _ = _HEAD.unpack_from(entry)
    return EntryHead(rank, kind, offset, size)


def entries_in(data: bytes) -> Iterator[tuple[SpoolEntry, int]]:
    """The whole entries from the first byte on, and how many bytes each has.  Raises: Broken."""
    begin = 0
    while len(data) - begin >= HEAD_BYTES:
        crc, size, rank, kind, offset, time_s = _HEAD.unpack_from(data, begin)
        if size > DATA_BYTES_MAX or kind > frames.STDERR:
            raise Broken(f"an entry of kind {kind} and {size} bytes")
        end = begin + HEAD_BYTES + size
        if end > len(data):
            return
        if zlib.crc32(memoryview(data)[begin + _CRC_BYTES : end]) != crc:
            raise Broken("an entry whose checksum is wrong")
        yield SpoolEntry(rank, kind, offset, time_s, data[begin + HEAD_BYTES : end]), end - begin
        begin = end


def end_of(rank: int, outcome: Outcome, sizes: tuple[int, int], time_s: float) -> SpoolEntry:
    return SpoolEntry(rank, END, 0, time_s, _encoder.encode(RankEnd(outcome, sizes)))


def rank_end(entry: SpoolEntry) -> RankEnd:
    """Raises: Broken."""
    try:
        return _decoder.decode(entry.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(str(error)) from error


class Gap(NamedTuple):
    """This many bytes of a stream of a rank are missing at this place."""

    rank: int
    stream: int
    size: int


class Gaps:
    """Finds what is missing.  from_start: reading begins at the job's first byte; else at any place of each stream."""

    def __init__(self, *, from_start: bool) -> None:
        self._from_start = from_start
        self._next: dict[tuple[int, int], int] = {}

    def before(self, entry: SpoolEntry) -> Iterator[Gap]:
        """What is missing before this entry, the next one of a spool."""
        if entry.kind == END:
            sizes = rank_end(entry).sizes
            for stream in (frames.STDOUT, frames.STDERR):
                yield from self._up_to(entry.rank, stream, sizes[stream - 1])
        else:
            yield from self._up_to(entry.rank, entry.kind, entry.offset)
            self._next[entry.rank, entry.kind] = entry.offset + len(entry.data)

    def _up_to(self, rank: int, stream: int, offset: int) -> Iterator[Gap]:
        have = self._next.get((rank, stream), 0 if self._from_start else offset)
        if offset > have:
            yield Gap(rank, stream, offset - have)
        self._next[rank, stream] = max(have, offset)


class SpoolFile(NamedTuple):
    """One file of a spool.  ended: whether its job has ended.  open: whether output may still be appended to it."""

    job: int
    part: int
    size: int
    ended: bool
    open: bool


def to_drop(files: list[SpoolFile], free_bytes: int) -> list[SpoolFile]:
    """The files to remove so that so many bytes are free: those of ended jobs first, the oldest job first; then of the
    running job that has most, its oldest.  A file that is still written stays, so it may be less."""
    dropped: list[SpoolFile] = []
    freed = 0
    for file in sorted(file for file in files if file.ended):
        if freed >= free_bytes:
            return dropped
        dropped.append(file)
        freed += file.size
    running: dict[int, list[SpoolFile]] = {}
    for file in sorted(file for file in files if not file.ended):
        running.setdefault(file.job, []).append(file)
    while freed < free_bytes:
        droppable = [(sum(file.size for file in own), own) for own in running.values() if not own[0].open]
        if not droppable:
            return dropped
        own = max(droppable)[1]
        dropped.append(own[0])
        freed += own.pop(0).size
        if not own:
            running = {job: left for job, left in running.items() if left}
    return dropped


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(RankEnd)
