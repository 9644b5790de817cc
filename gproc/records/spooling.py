"""Output on its way into spools: an event loop hands it over, and a thread writes it, in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from gproc.records.entries import SpoolEntry, end_of, packed
from gproc.records.keeper import RecordKeeper
from gproc.records.spool import Batch, SpoolEnd, SpoolFiles, SpoolReader
from gproc.request.outcome import Outcome

BATCH_BYTES: Final = 8 << 20
"""Bytes that are written at a time: other work for the thread waits for that long."""


class JobSpool:
    """The spool of one running job.

    end: up to where it is on the disk.  ended: the ranks whose ends are in it, or on their way there.
    """

    def __init__(self, spools: Spools, job: int, uid: int, end: SpoolEnd) -> None:
        self.job = job
        self.uid = uid
        self.end = end
        self.ended: set[int] = set()
        self.complete = False
        """Whether the job has ended and all of its output is on the disk."""
        self.problem = ""
        """Why some of its output was not taken by the disk."""
        self._spools = spools
        self._readers: dict[Callable[[], None], None] = {}

    def add(self, rank: int, stream: int, offset: int, data: bytes, taken: Callable[[], None]) -> None:
        """Take output.  taken: called when it is on the disk or was dropped: the programs may write as much again."""
        self._spools.add(self, packed(SpoolEntry(rank, stream, offset, time.time(), data)), taken)

    def finish(self, rank: int, outcome: Outcome, sizes: tuple[int, int]) -> None:
        """A rank has ended, after so many bytes of standard output and standard error."""
        self.ended.add(rank)
        self._spools.add(self, packed(end_of(rank, outcome, sizes, time.time())), None)

    def close(self) -> None:
        """The job has ended."""
        self._spools.close_job(self)

    async def written(self) -> None:
        """Wait until it is complete."""
        await self.wrote_until(lambda: self.complete)

    async def wrote_until(self, done: Callable[[], bool]) -> None:
        """Wait until this is so.  done: is asked each time when there is more on the disk."""
        changed = asyncio.Event()
        self.tell(changed.set)
        try:
            while not done():
                await changed.wait()
                changed.clear()
        finally:
            self.forget(changed.set)

    def tell(self, reader: Callable[[], None]) -> None:
        """Call this each time when there is more, or when it is complete, until `forget`."""
        self._readers[reader] = None

    def forget(self, reader: Callable[[], None]) -> None:
        self._readers.pop(reader, None)

    def wrote(self, end: SpoolEnd, *, complete: bool) -> None:
        self.end = end
        self.complete = complete
        for reader in list(self._readers):
            reader()


class Spools:
    """All spools of one master."""

    def __init__(self, keeper: RecordKeeper, files: SpoolFiles) -> None:
        self._keeper = keeper
        self._files = files
        self._queue: list[tuple[JobSpool, bytes, Callable[[], None] | None]] = []
        self._closing: dict[JobSpool, None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._others: set[asyncio.Task[None]] = set()

    def open_job(self, job: int, uid: int, end: SpoolEnd | None = None) -> JobSpool:
        """end: where that of a job ends whose master has crashed."""
        return JobSpool(self, job, uid, end or SpoolEnd())

    def reader(self, job: int, begin: SpoolEnd | None = None) -> SpoolReader:
        return SpoolReader(self._files.place, job, begin)

    def forget(self, numbers: Collection[int]) -> None:
        """Remove the spools of jobs that have ended."""
        self._start(lambda: self._files.remove(numbers))

    def add(self, spool: JobSpool, entry: bytes, taken: Callable[[], None] | None) -> None:
        self._queue.append((spool, entry, taken))
        self._wake()

    def close_job(self, spool: JobSpool) -> None:
        self._closing[spool] = None
        self._wake()

    def finish(self) -> None:
        """The master ends: write what waits, and wait for it."""
        while self._queue or self._closing:
            batches, _, closed = self._take()
            self._keeper.run_now(partial(self._files.write, batches.values()))
            for spool in closed:
                spool.complete = True

    def _start(self, work: Callable[[], None]) -> None:
        task = asyncio.get_running_loop().create_task(self._keeper.run(work))
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _wake(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._queue or self._closing:
                batches, taken, closed = self._take()
                ends = await self._keeper.run(partial(self._files.write, batches.values()))
                for spool in batches:
                    spool.problem = spool.problem or self._files.problem_of(spool.job)
                    spool.wrote(ends[spool.job], complete=spool in closed)
                for told in taken:
                    told()
        finally:
            self._writing = None

    def _take(self) -> tuple[Mapping[JobSpool, Batch], list[Callable[[], None]], Collection[JobSpool]]:
        """What is written next, by job; the callbacks for when it is written; and the jobs of which it is the last."""
        entries: dict[JobSpool, list[bytes]] = {}
        told: list[Callable[[], None]] = []
        size = count = 0
        for spool, entry, taken in self._queue:
            if size >= BATCH_BYTES:
                break
            count += 1
            size += len(entry)
            entries.setdefault(spool, []).append(entry)
            if taken is not None:
                told.append(taken)
        del self._queue[:count]
        closed: Collection[JobSpool] = ()
        if not self._queue:
            closed, self._closing = self._closing, {}
            for spool in closed:
                entries.setdefault(spool, [])
        batches = {spool: Batch(spool.job, spool.uid, own, spool in closed) for spool, own in entries.items()}
        return batches, told, closed
