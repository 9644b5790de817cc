"""Records for an event loop: a thread writes them, in batches, so that no job waits for the disk."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from gproc.errors import GprocError
from gproc.records.database import Changes, JobDatabase
from gproc.records.record import JobName, Keeping, KeptJob
from gproc.records.rows import BriefRow
from gproc.records.unwritten import newest_of, with_newer

log = logging.getLogger("gproc")

T = TypeVar("T")

FILE: Final = "jobs.db"

TOGETHER_S: Final = 0.1
"""Seconds between a change and its way to the disk: most jobs are shorter, and are written once instead of twice."""

NUMBERS: Final = 1000
"""How many numbers are reserved at a time, on the disk, before the first of them is used.  A crash skips the rest."""

PRUNED_S: Final = 60.0
"""Seconds between two looks for records that are not kept any longer."""

WAITING_MAX: Final = 100_000
"""Records that wait for a disk that takes none; the oldest are dropped then."""

LOST: Final = "the master ended while it ran"


class Noted(NamedTuple):
    """Makes a job's record, and what another master needs of it, when they are written.

    So a job that changes ten times until then is encoded once.
    """

    record: Callable[[], KeptJob]
    life: Callable[[], bytes | None]


class RecordKeeper:
    """All calls are from one event loop, but for those before it runs.  pruned: called with numbers that are gone.

    interrupted: the jobs that ran when the last master crashed, and what this one needs to go on with each.
    nodes: what is kept of the nodes of its tree.
    """

    def __init__(
        self, place: str, keeping: Keeping, clock: Callable[[], float] = time.time, *, goes_on: bool = False
    ) -> None:
        """Open the records in a directory.

        goes_on: the last master has crashed, and this one goes on with its session.  Jobs that were running and that
        cannot be found again are lost.  Raises: GprocError.
        """
        self._clock = clock
        self._keeping = keeping
        self._database = JobDatabase(os.path.join(place, FILE))
        self._thread = ThreadPoolExecutor(1, "gproc-records")
        self._waiting: dict[int, Noted] = {}
        self._under_way: dict[int, Noted] = {}
        self._ended = False
        self._nodes: dict[bytes, bytes | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._pruning: asyncio.TimerHandle | None = None
        self.problem: GprocError | None = None
        """Why records cannot be written now."""
        self.pruned: Callable[[Collection[int]], None] = lambda _: None
        lives = self._database.lives() if goes_on else {}
        running = self._database.running()
        self.interrupted = [(record, lives[record.number]) for record in running if record.number in lives]
        self.nodes = self._database.nodes() if goes_on else []
        if not goes_on:
            self._database.forget_present()
        self.lose([record for record in running if record.number not in lives])
        self._database.prune(keeping, clock())
        self._next = self._database.reserve(NUMBERS)
        self._end = self._next + NUMBERS
        self._reserving: Future[int] | None = None

    def lose(self, running: Collection[KeptJob]) -> None:
        """These jobs were running, and are lost with their master: before the event loop runs."""
        if running:
            log.warning("%d jobs were lost with the last master", len(running))
            lost = [record.lost_with_its_master(LOST, self._clock()) for record in running]
            self._database.write(Changes(lost, dict.fromkeys(record.number for record in lost)))

    def number(self) -> int:
        """The number of a new job: higher than all before it, those of former masters too.  Raises: GprocError."""
        if self._end - self._next < NUMBERS // 2 and self._reserving is None:
            self._reserving = self._thread.submit(self._database.reserve, NUMBERS)
        if self._next == self._end and self._reserving is not None:
            reserving, self._reserving = self._reserving, None
            self._next = reserving.result()
            self._end = self._next + NUMBERS
        number = self._next
        self._next += 1
        return number

    def note(
        self, number: int, record: Callable[[], KeptJob], life: Callable[[], bytes | None] = lambda: None
    ) -> None:
        """A job has changed.  record: makes its record, in a moment; life: what another master needs to go on with it
        if this one crashes; None: it cannot."""
        if self._ended:
            return
        self._waiting[number] = Noted(record, life)
        while len(self._waiting) > WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._soon()

    def note_node(self, nonce: bytes, node: bytes | None) -> None:
        """A node has come, or something of it has changed; None: it has ended."""
        if self._ended:
            return
        self._nodes[nonce] = node
        while len(self._nodes) > WAITING_MAX:
            del self._nodes[next(iter(self._nodes))]
        self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOGETHER_S, self._write)
            if self._pruning is None:
                self._pruning = asyncio.get_running_loop().call_later(PRUNED_S, self._prune)

    async def written(self) -> None:
        """Wait until all that was noted is on the disk.  Raises: GprocError if it cannot be written."""
        while self._waiting or self._nodes or self._writing is not None:
            if self._writing is None:
                self._write()
            if self._writing is not None:
                await asyncio.shield(self._writing)
                await asyncio.sleep(0)  # a future that is done is no pause, and `_wrote` has to run
            if self.problem is not None:
                raise self.problem

    async def find(self, name: JobName, uid: int, *, all_users: bool) -> KeptJob | None:
        """As `JobDatabase.find`, also of jobs whose records the disk has not taken.  Raises: GprocError."""
        await self._settled()
        unwritten = self._unwritten()
        found = await self._in_thread(lambda: self._database.find(name, uid, all_users=all_users))
        return newest_of(name, uid, unwritten, found, all_users=all_users)

    async def newest(self, uid: int | None, limit: int) -> tuple[list[BriefRow], int]:
        """As `JobDatabase.newest`, also of jobs whose records the disk has not taken.  Raises: GprocError."""
        await self._settled()
        unwritten = self._unwritten()
        rows, left_out = await self._in_thread(lambda: self._database.newest(uid, limit))
        return with_newer(rows, left_out, [each for each in unwritten if uid is None or each.uid == uid], limit)

    async def remove(self, numbers: Collection[int]) -> None:
        """Raises: GprocError."""
        await self._settled()
        await self._in_thread(lambda: self._database.remove(numbers))
        for number in numbers:
            self._waiting.pop(number, None)
            self._under_way.pop(number, None)
        self.pruned(numbers)

    async def run(self, work: Callable[[], T]) -> T:
        """Do other work for the disk in the same thread."""
        return await self._in_thread(work)

    def submit(self, work: Callable[[], object]) -> None:
        """Do other work for the disk in the same thread.  The caller does not wait for it, and does not hear if it
        fails."""
        self._thread.submit(work)

    def run_now(self, work: Callable[[], T]) -> T:
        """The same, and nothing else meanwhile: the master ends."""
        return self._thread.submit(work).result()

    def spooled(self) -> dict[int, int]:
        """As `JobDatabase.spooled`, before the event loop runs."""
        return self._database.spooled()

    def close(self) -> None:
        """The master ends: write what waits, and give back the numbers that no job has."""
        for timer in (self._timer, self._pruning):
            if timer is not None:
                timer.cancel()
        try:
            self._thread.submit(self._close, [noted.record() for noted in self._waiting.values()]).result()
        except GprocError as error:
            log.error("%s", error)
        # A job may still be on its way to its record: what it notes now was written above, or is not needed.
        self._ended = True
        self._waiting, self._nodes = {}, {}
        self._thread.shutdown()

    def _close(self, records: Collection[KeptJob]) -> None:
        self._database.write(Changes(records))
        self._lose_with_us()
        self._database.forget_present()
        self._database.give_back(self._next)
        self._database.close()

    def _lose_with_us(self) -> None:
        now_s = self._clock()
        lost = [record.lost_with_its_master(LOST, now_s) for record in self._database.running()]
        self._database.write(Changes(lost))

    async def _settled(self) -> None:
        try:
            await self.written()
        except GprocError:
            return  # what can be read is read all the same

    def _unwritten(self) -> list[KeptJob]:
        """A full disk does not hide the jobs of this master: an older one would be taken for the last."""
        return [noted.record() for noted in {**self._under_way, **self._waiting}.values()]

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None and (self._waiting or self._nodes):
            waiting = self._under_way = self._waiting
            self._waiting = {}
            nodes, self._nodes = self._nodes, {}
            lives = {number: noted.life() for number, noted in waiting.items()}
            changes = Changes([noted.record() for noted in waiting.values()], lives, nodes)
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(self._thread, self._database.write, changes)
            self._writing.add_done_callback(lambda done: self._wrote(done, waiting, nodes))

    def _wrote(
        self, done: asyncio.Future[None], written: dict[int, Noted], nodes: dict[bytes, bytes | None]
    ) -> None:
        self._writing, self._under_way = None, {}
        error = done.exception()
        if error is None:
            if self.problem is not None:
                log.info("job records are kept again")
            self.problem = None
        else:
            if self.problem is None:
                log.error("%s", error)
            self.problem = error if isinstance(error, GprocError) else GprocError(f"job records: {error}")
            self._waiting = {**written, **self._waiting}
            self._nodes = {**nodes, **self._nodes}
        if (self._waiting or self._nodes) and self._timer is None:
            wait_s = TOGETHER_S if self.problem is None else 1.0
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._write)

    def _prune(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = self._clock()
        pruning = loop.run_in_executor(self._thread, self._database.prune, self._keeping, now_s)
        pruning.add_done_callback(self._did_prune)
        self._pruning = loop.call_later(PRUNED_S, self._prune)

    def _did_prune(self, done: asyncio.Future[list[int]]) -> None:
        if done.exception() is None:
            self.pruned(done.result())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
