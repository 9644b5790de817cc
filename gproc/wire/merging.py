"""Output that several nodes have alike goes to a parent once: what a child says instead of sending it again.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from gproc.wire import frames
from gproc.wire.branch import ByteCount, Number
from gproc.wire.messages import Message, Rank
from gproc.wire.tags import tag_of

ANNOUNCED_BYTES_MIN: Final = 4 << 10
"""Shorter output is sent at once: an announcement costs a round trip."""

PART_BYTES: Final = 8 << 10
"""BLAKE3 is twice as fast for so much as for 4 KiB, and what programs write in one piece is seldom less."""

PART_DIGEST_BYTES: Final = 16

OutputStream = Annotated[int, msgspec.Meta(ge=frames.STDOUT, le=frames.FILES)]


class SameOutput(Message, frozen=True, tag=tag_of):
    """Stands for a STDIO frame: these bytes of `rank` are those that rank `of` has at the same offset of that stream.

    The sender has sent those in one STDIO frame on this link, after the Run that offered it, and among the last bytes
    that the receiver keeps.  epoch: of that offer.
    """

    job: Number
    rank: Rank
    stream: OutputStream
    offset: ByteCount
    size: Annotated[int, msgspec.Meta(ge=1, le=frames.MAX_STDIO_BYTES)]
    of: Rank
    epoch: Number


class AnnounceOutput(Message, frozen=True, tag=tag_of):
    """Stands for a STDIO frame: the sender keeps these bytes until the parent has answered, and sends what it asks for.

    What comes after it on this link comes after these bytes in the job's output.  It needs an offer with `announce`.
    serial: no two of a process are the same.  digests: of each part, the first 16 bytes of its BLAKE3 digest, one after
    the other.  The parts end where the offset in the stream is a multiple of 8,192, and at the end.
    """

    job: Number
    rank: Rank
    stream: OutputStream
    offset: ByteCount
    size: Annotated[int, msgspec.Meta(ge=1, le=frames.MAX_STDIO_BYTES)]
    serial: Number
    digests: bytes
    epoch: Number

    def __post_init__(self) -> None:
        if len(self.digests) != PART_DIGEST_BYTES * sum(1 for _ in parts_of(self.offset, self.size)):
            raise ValueError(f"{len(self.digests)} bytes of digests for {self.size} bytes of output")


class AnswerOutput(Message, frozen=True, tag=tag_of):
    """The parent has the bytes of this announcement, but for `size` of them from `begin` on, which it asks for.

    begin: from the announced offset on.  pause_bytes: the child sends so much output without announcing it.
    """

    job: Number
    serial: Number
    begin: ByteCount
    size: ByteCount
    pause_bytes: ByteCount = 0


class BringOutput(Message, frozen=True, tag=tag_of):
    """The bytes of an announcement that were asked for; none: the sender does not have them any more."""

    job: Number
    serial: Number
    data: Annotated[bytes, msgspec.Meta(max_length=frames.MAX_STDIO_BYTES)]


def parts_of(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of so many bytes of a stream from there on: the offset of each in the stream, and its size."""
    at, end = offset, offset + size
    while at < end:
        next_at = min(end, at - at % PART_BYTES + PART_BYTES)
        yield at, next_at - at
        at = next_at
