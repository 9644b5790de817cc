"""A job whose tasks the master hands out, because it goes on without the client that has the list.

The client of `gproc map` hands out tasks itself; of `gproc map --detach` it sends the whole list first, which is kept
on the disk.  The rules are the same, `gproc.tasks.feed`: orders go to nodes as the job's standard input, and what nodes
report goes into the spool, by task.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gproc.errors import EXIT_SIGNAL_BASE, GprocError, PeerError
from gproc.records.record import TaskNotes
from gproc.records.task_entries import entries_of
from gproc.request.signals import ENDING
from gproc.request.template import Template
from gproc.request.wording import name_of
from gproc.service.live import LiveJob
from gproc.tasks.feed import TaskDone, TaskEvent, TaskFeed
from gproc.tasks.tallies import Tally
from gproc.trust.orders import SignedJob
from gproc.wire import frames, messages
from gproc.wire.task_messages import LIST_BYTES_MAX, LIST_TASKS_MAX, NOTED_LINES_MAX, TaskListing
from gproc.wire.tasks import Setup, TaskListReader, TaskOrder

if TYPE_CHECKING:
    from gproc.link.connection import Link
    from gproc.nodespec import Place
    from gproc.records.spooling import JobSpool
    from gproc.records.task_lists import TaskListFile
    from gproc.relay.receipt import RunOfNode
    from gproc.service.accounts import Account
    from gproc.service.jobs import JobRecord

log = logging.getLogger("gproc")

OUT_BYTES_MAX: Final = 2 << 20
"""Bytes of the values of one job's tasks that nodes have at a time: those of all such jobs are in the master's
memory."""

LINE_CHARACTERS_MAX: Final = 1000
"""The limit of each line that is told about tasks at the end."""


class ListedJob(LiveJob):
    """feed: hands out the tasks."""

    def __init__(
        self, job: JobRecord, runs: Sequence[RunOfNode | None], signed: SignedJob, client: Link,
        ended: Callable[[LiveJob], None], changed: Callable[[LiveJob], None], listing: TaskListing,
        file: TaskListFile, account: Account,
    ) -> None:  # fmt: skip
        """client: sends the list.  account: has it, as long as the job runs.  Others: as of LiveJob."""
        super().__init__(job, runs, signed, client, ended, changed=changed)
        self.input_from = self
        job.tasks = TaskNotes()
        setup = Setup(listing.slots, listing.timeout_s, listing.quoted)
        template = Template(job.request.argv, quoted=listing.quoted)
        self.feed = TaskFeed(setup, template, max_fail=listing.max_fail, out_bytes_max=OUT_BYTES_MAX)
        self.feed.begin(len(job.places))
        self._tally = Tally(listing.noun)
        self._client = client
        self._account = account
        self._file = file
        # The list on its way to the disk
        self._checking = TaskListReader()
        self._coming: deque[bytes] = deque()
        self._credit_bytes = frames.CLIENT_WINDOW_BYTES
        self._list_bytes = self._list_tasks = self._held_bytes = 0
        self._list_ended = False
        self._storing: asyncio.Task[None] | None = None
        self._is_here = asyncio.Event()
        self._problem: GprocError | None = None
        # And back from it
        self._is_let_go = False
        self._entries: deque[TaskOrder] = deque()
        self._reader = TaskListReader()
        self._reading: asyncio.Task[None] | None = None
        self._is_read = False
        # Orders for nodes, and what nodes say
        self._orders = memoryview(b"")
        self._orders_ended = False
        self._handing_out = False
        self._kept_bytes: defaultdict[int, int] = defaultdict(int)
        self._stopped_by = 0

    # The list

    def stdin(self, data: bytes) -> None:
        """Part of the list; b"" is its end.  Raises: PeerError for what is none, or too much of it."""
        if len(data) > self._credit_bytes or self._list_ended:
            raise PeerError("a list of tasks without credit for it, or after its end")
        self._credit_bytes -= len(data)
        self._list_ended = not data
        self._list_bytes += len(data)
        self._list_tasks += sum(1 for _ in self._checking.feed(data))
        if self._list_bytes > LIST_BYTES_MAX or self._list_tasks > LIST_TASKS_MAX:
            raise PeerError(f"a list of more than {LIST_TASKS_MAX} tasks or {LIST_BYTES_MAX} bytes")
        if self._list_ended and not self._checking.is_at_end:
            raise PeerError("a list of tasks that ends within a task")
        self._coming.append(data)
        if self._storing is None:
            self._storing = asyncio.get_running_loop().create_task(self._store())

    async def _store(self) -> None:
        try:
            while self._coming and self._problem is None and not self.job.over:
                data = self._coming.popleft()
                if not data:
                    self._is_here.set()
                    break
                self._account.hold(len(data), spares=True)
                self._held_bytes += len(data)
                await self._file.append(data)
                self._credit_bytes += len(data)
                self._client.send(messages.Credit(self.job.number, frames.STDIN, len(data)))
        except GprocError as error:
            self._problem = error
            self._is_here.set()
        finally:
            self._storing = None

    async def all_is_here(self) -> None:
        await self._is_here.wait()
        if self._problem is not None:
            raise self._problem

    def let_go(self) -> None:
        self._is_let_go = True
        self._hand_out_soon()

    async def _read(self) -> None:
        try:
            data = await self._file.read()
            self._is_read = not data
            self._entries.extend(self._reader.feed(data))
        except GprocError as error:
            self._is_read = True
            if not self.job.over:
                log.error("job %d: %s", self.job.number, error)
                self.feed.stop(f"the list cannot be read any more: {error}")
        finally:
            self._reading = None
            self._hand_out_soon()

    # Orders

    def _hand_out_soon(self) -> None:
        """Do it once, together with what else happens now."""
        if not self._handing_out:
            self._handing_out = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def _hand_out(self) -> None:
        self._handing_out = False
        if not self._is_let_go or self.job.over or self._orders_ended:
            return
        if self._problem is None and not self.feed.stopped:
            self._take_entries()
        if not self._orders:
            self._orders = memoryview(self.feed.outgoing())
        while self._orders and self.stdin_credit > 0:
            part = bytes(self._orders[: self.stdin_credit])
            self._orders = self._orders[len(part) :]
            self.stdin_credit -= len(part)
            self._send_input(part)
            if not self._orders:
                self._orders = memoryview(self.feed.outgoing())
        if self.feed.is_over and not self._orders:
            self._orders_ended = True
            self._send_input(b"")

    def _take_entries(self) -> None:
        wanted = self.feed.wanted
        while wanted > 0 and self._entries:
            entry = self._entries.popleft()
            try:
                self.feed.add(entry.number, entry.values)
            except GprocError as error:  # the client has checked it, but the master does not trust the client
                self.feed.stop(str(error))
                return
            wanted = wanted - 1 or self.feed.wanted
        if self._entries:
            return
        if self._is_read:
            self.feed.end_list()
        elif self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def signal(self, signum: int) -> None:
        self._stop_by(signum)
        super().signal(signum)

    def _stop_by(self, signum: int) -> None:
        if signum in ENDING and not self.job.over:
            self._stopped_by = self._stopped_by or signum
            self.feed.stop(f"{name_of(signum)} has ended it", signum)
            self._hand_out_soon()

    def drain(self, places: Sequence[Place]) -> None:
        ranks = (self.job.rank_at(place) for place in places)
        self.feed.drain(rank for rank in ranks if rank is not None)
        self._hand_out_soon()

    # What nodes say

    def write(self, frame: bytes) -> None:
        _, rank, stream, _, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        size = len(data)
        is_taken = stream == frames.STDOUT and rank not in self.job.outcomes
        events = list(self.feed.output(rank, data)) if is_taken else []
        self._keep(rank, events, lambda: self.relayed.credit_from_upstream(stream, size))
        self._hand_out_soon()

    def send(self, message: messages.Message) -> None:
        if isinstance(message, messages.Credit):
            self.stdin_credit += message.bytes
            self._hand_out_soon()
            return
        if isinstance(message, messages.Finished) and message.rank not in self.job.outcomes:
            self._keep(message.rank, list(self.feed.exited(message.rank, message.outcome)), lambda: None)
            self._hand_out_soon()
        super().send(message)

    def _keep(self, rank: int, events: Sequence[TaskEvent], taken: Callable[[], None]) -> None:
        """Write what has happened to tasks into the spool.  taken: called when it is on the disk."""
        for event in events:
            if isinstance(event, TaskDone):
                self._tally.add(event)
        entries = list(entries_of(events))
        if not entries or self.spool is None:
            taken()
            return
        for entry in entries:
            offset = self._kept_bytes[rank]
            self._kept_bytes[rank] += len(entry)
            self.spool.add(rank, frames.STDOUT, offset, entry, taken if entry is entries[-1] else _nothing)

    def keep_output(self, spool: JobSpool) -> None:
        self.spool = spool
        self.job.spooled = True

    def _kept_sizes(self, rank: int) -> tuple[int, int]:
        return self._kept_bytes[rank], 0

    def close(self) -> None:
        status, lines = self._tally.conclude(self.feed, self.job.places, self.job.missing)
        if self._stopped_by:
            status = EXIT_SIGNAL_BASE + self._stopped_by
        told = tuple(line[:LINE_CHARACTERS_MAX] for line in lines[:NOTED_LINES_MAX])
        self.job.tasks = TaskNotes(status, told)
        self._entries.clear()
        self._is_here.set()
        self._file.close()
        self._account.free(self._held_bytes)
        super().close()


def _nothing() -> None:
    pass
