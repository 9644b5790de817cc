"""Standard input that a client sends in small pieces: what comes at once goes to the nodes as one.

The master signs each block of standard input, and each node checks it.  A window counts bytes: a megabyte in pieces of
one byte would be a million signatures, and hundred megabytes of frames in front of what others send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gproc.errors import PeerError

GATHER_S: Final = 0.005
"""Seconds between two small blocks of one job: too short to be noticed, and a node checks 200 a second."""

WHOLE_BYTES: Final = 16 << 10
"""A piece of this many bytes is not small.  With small windows a full block has less."""


class _Pending:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.has_ended = False
        self.timer: asyncio.TimerHandle | None = None
        self.given_s = 0.0


class GatheredInput:
    """One client's.

    give: gives a job its input; b"" is the end.  It raises PeerError for too much.  fault: is told so.
    """

    def __init__(self, give: Callable[[int, bytes], None], fault: Callable[[str], None]) -> None:
        self._give = give
        self._fault = fault
        self._jobs: dict[int, _Pending] = {}

    def add(self, job: int, data: bytes, block_bytes: int = WHOLE_BYTES) -> None:
        """block_bytes: of a full block of this job.  Raises: PeerError if it comes after the end, or is too much."""
        loop = asyncio.get_running_loop()
        if job not in self._jobs:
            recent_s = loop.time() - GATHER_S
            self._jobs = {job: each for job, each in self._jobs.items() if each.parts or each.given_s > recent_s}
        pending = self._jobs.setdefault(job, _Pending())
        if pending.has_ended:
            raise PeerError("standard input after its end")
        pending.parts.append(data)
        pending.size += len(data)
        pending.has_ended = not data
        if pending.size >= min(WHOLE_BYTES, block_bytes):
            self.flush(job)
        elif pending.timer is None:
            pending.timer = loop.call_at(max(loop.time(), pending.given_s + GATHER_S), self._is_time, job)

    def flush(self, job: int) -> None:
        """Give what has come so far.  Raises: PeerError."""
        if (pending := self._jobs.get(job)) is None or not pending.parts:
            return
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None
        data, pending.parts, pending.size = b"".join(pending.parts), [], 0
        pending.given_s = asyncio.get_running_loop().time()
        if data:
            self._give(job, data)
        if pending.has_ended:
            self._give(job, b"")

    def flush_all(self) -> None:
        """The client says nothing more."""
        for job in list(self._jobs):
            self._is_time(job)

    def _is_time(self, job: int) -> None:
        try:
            self.flush(job)
        except PeerError as error:
            self._fault(str(error))
