"""A child announces longer output to its parent by digests, and sends what no other child has sent.  Pure.

So what all children of a parent have alike goes over one of their links.  An announcement stands in the place of the
output that it announces, and the child goes on at once: nothing waits here for the answer.  The child keeps the bytes
until then.  They count for the windows of its job as if they had been sent, so the windows bound them.
"""

from __future__ import annotations

import itertools
from typing import Final

from blake3 import blake3

from gproc.wire.merging import (
    ANNOUNCED_BYTES_MIN,
    PART_DIGEST_BYTES,
    AnnounceOutput,
    AnswerOutput,
    BringOutput,
    parts_of,
)

_serials: Final = itertools.count(1)


def part_digest(data: bytes | memoryview) -> bytes:
    return blake3(data).digest(PART_DIGEST_BYTES)


class Announcer:
    """What a node has announced to its parent of one job, under one offer."""

    def __init__(self, job: int, epoch: int) -> None:
        self._job = job
        self._epoch = epoch
        self._kept: dict[int, bytes] = {}
        self._pause_bytes = 0

    def announce(self, rank: int, stream: int, offset: int, data: bytes) -> AnnounceOutput | None:
        """What to send in place of this output; None: the output itself."""
        if len(data) < ANNOUNCED_BYTES_MIN:
            return None
        if self._pause_bytes > 0:
            self._pause_bytes -= len(data)
            return None
        view = memoryview(data)
        parts = parts_of(offset, len(data))
        digests = b"".join([part_digest(view[at - offset : at - offset + size]) for at, size in parts])
        serial = next(_serials)
        self._kept[serial] = data
        return AnnounceOutput(self._job, rank, stream, offset, len(data), serial, digests, self._epoch)

    def answered(self, answer: AnswerOutput) -> BringOutput | None:
        """What to send now; None: the parent has it all."""
        data = self._kept.pop(answer.serial, b"")
        if answer.pause_bytes:
            self._pause_bytes = answer.pause_bytes
        if not answer.size:
            return None
        return BringOutput(self._job, answer.serial, data[answer.begin : answer.begin + answer.size])
