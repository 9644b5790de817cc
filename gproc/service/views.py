"""What one client sees of one job that it is not attached to: its output from the spool, and how its ranks end.

A client that does not read holds up its own view and nothing else: no more is read from the disk than it has credit
for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gproc.errors import PeerError
from gproc.nodespec import Place
from gproc.records.entries import END, Broken, Gaps, SpoolEntry, rank_end
from gproc.records.record import KeptJob, TaskNotes
from gproc.records.spool import SpoolEnd, SpoolReader
from gproc.records.spooling import Spools
from gproc.records.task_entries import KeptPiece, KeptTask, tasks_in
from gproc.request.outcome import Outcome
from gproc.request.spec import TerminalSize
from gproc.service.live import LiveJob
from gproc.wire import frames, messages
from gproc.wire.job_messages import Detached, Dropped, Moment, Viewing, ViewJob
from gproc.wire.task_messages import TaskFinished, TasksConcluded, TaskSpeaks

if TYPE_CHECKING:
    from gproc.link.connection import Link

FIRST_VIEW: Final = 1 << 62
"""Views have numbers from here on, so that none is a job's."""


class ViewRights(NamedTuple):
    """What a viewer may do besides looking.

    types: whether it may give the job its input, and its terminal a size.  signals: says why a signal may not be sent;
    "" if it may.
    """

    types: bool
    signals: Callable[[int], str]


class JobView:
    """live: None if the job has ended.  ranks: those that are seen, by their position in the view."""

    def __init__(
        self, number: int, link: Link, question: ViewJob, record: KeptJob, live: LiveJob | None, ranks: Sequence[int],
        spools: Spools, rights: ViewRights,
    ) -> None:  # fmt: skip
        self._rights = rights
        self.number = number
        self.live = live
        self._link = link
        self._question = question
        self._record = record
        self._spools = spools
        self._position = {rank: position for position, rank in enumerate(ranks)}
        self._ranks = ranks
        self._ended: set[int] = set()
        self._left = False
        self._changed = asyncio.Event()
        self._offsets: Counter[tuple[int, int]] = Counter()
        """How many bytes tasks have written, by rank and stream."""
        self._credit = {frames.STDOUT: frames.CLIENT_WINDOW_BYTES, frames.STDERR: frames.CLIENT_WINDOW_BYTES}
        self._begin = SpoolEnd() if live is None or live.spool is None else live.spool.end

    # What its client sends

    def credited(self, stream: int, size: int) -> None:
        self._credit[stream] = self._credit.get(stream, 0) + size
        self._changed.set()

    def signal(self, signum: int) -> None:
        if self.live is None or self.live.job.over:
            return
        if why := self._rights.signals(signum):
            self._link.send(Detached(self.number, why))
            self.leave()
        else:
            self.live.signal(signum)

    def leave(self) -> None:
        """Its client wants to see no more."""
        self._left = True
        self._changed.set()

    def resize(self, size: TerminalSize) -> None:
        if self.live is not None and self.live.input_from is self and not self.live.job.over:
            self.live.resize(size)

    @property
    def block_bytes(self) -> int:
        """Of a full block of standard input."""
        return frames.MAX_STDIO_BYTES if self.live is None else self.live.block_bytes

    def stdin(self, data: bytes) -> None:
        """Raises: PeerError if the client has no credit for it."""
        live = self.live
        if live is None or live.input_from is not self or live.job.over or live.input_ended:
            return
        if len(data) > live.stdin_credit:
            raise PeerError("standard input without credit for it")
        live.stdin(data)

    # What the job says: `service.live.Viewer`

    def finished(self, rank: int, outcome: Outcome) -> None:
        if not self._question.output:
            self._finish(rank, outcome)
        self._changed.set()

    def tell(self, message: messages.Credit | messages.OutOfReach) -> None:
        if isinstance(message, messages.Credit):
            self._link.send(messages.Credit(self.number, message.stream, message.bytes))
        else:
            told = messages.OutOfReach(self.number, message.nodes, message.reason, message.until_s)
            self._link.send(told)

    # The view

    def open(self) -> None:
        """Answer the client, and begin to look."""
        record, live = self._record, self.live
        controls = False
        if live is not None:
            live.viewers.add(self)
            if self._question.control and self._rights.types and live.input_from is None:
                live.input_from = self
            controls = live.input_from is self
        request = None if live is None else live.job.request
        state = record.state if live is None else live.job.state.value
        self._link.send(
            Viewing(
                self._question.serial, self.number, record.number, record.name,
                tuple(record.places[rank] for rank in self._ranks), record.missing, state, record.argv,
                frames.CLIENT_WINDOW_BYTES, stdin=request is not None and request.stdin and self._tasks is None,
                terminal=request is not None and request.terminal is not None,
                stdin_bytes=live.stdin_credit if live is not None and controls else 0, controls=controls,
                tasks=self._tasks is not None,
            )
        )  # fmt: skip

    async def show(self) -> None:
        """Show all that the client wants to see.  The view is over then."""
        if not self._question.output or not self._question.start:
            self._finish_known()
        if self._question.output and (self._record.spooled or (self.live is not None and self.live.spool is not None)):
            await self._show_output()
        if self._question.follow:
            while self.live is not None and not self.live.job.over and not self._left:
                self._changed.clear()
                await self._changed.wait()
        if not self._left:
            self._finish_known()
        if len(self._ended) < len(self._ranks):
            self._link.send(Detached(self.number))

    def close(self) -> None:
        """The client is gone, or wants to see no more."""
        if self.live is not None:
            self.live.viewers.discard(self)
            if self.live.input_from is self:
                self.live.input_from = None

    async def _show_output(self) -> None:
        start = self._question.start
        gaps = Gaps(from_start=start)
        reader = self._spools.reader(self._record.number, None if start else self._begin)
        spool = None if self.live is None else self.live.spool
        if spool is not None:
            spool.tell(self._changed.set)
        seen = 0
        try:
            while not self._link.lost and not self._left:
                complete = spool is None or spool.complete
                self._changed.clear()
                for entry in (entries := await _read(reader)):
                    seen += len(entry.data) if entry.kind != END else 0
                    await self._give(entry, gaps)
                if entries:
                    continue
                if complete or not self._question.follow:
                    break
                await self._changed.wait()
        finally:
            if spool is not None:
                spool.forget(self._changed.set)
            reader.close()
        wrote = self._record.stdout_bytes + self._record.stderr_bytes
        if start and not seen and wrote and self.live is None:
            self._link.send(Dropped(self.number, 0, 0, wrote))

    async def _give(self, entry: SpoolEntry, gaps: Gaps) -> None:
        try:
            missing = list(gaps.before(entry))
            position = self._position.get(entry.rank)
            if position is None:
                return
            for gap in missing:
                self._link.send(Dropped(self.number, position, gap.stream, gap.size))
            if entry.rank in self._ended:
                return  # its end was told when the view began
            if entry.kind == END:
                self._finish(entry.rank, rank_end(entry).outcome)
                return
            if self._tasks is not None and entry.data:
                for kept in tasks_in(entry.data):
                    await self._give_of_task(kept, position, entry.time_s)
                return
        except Broken:
            return
        await self._give_data(position, entry.kind, entry.offset, entry.data, entry.time_s)

    async def _give_of_task(self, kept: KeptTask, position: int, time_s: float) -> None:
        task = (self.number, position, kept.number, kept.line, kept.values)
        if isinstance(kept, KeptPiece):
            offset = self._offsets[position, kept.stream]
            self._offsets[position, kept.stream] += len(kept.data)
            about = TaskSpeaks(*task) if self._question.tasks else None
            await self._give_data(position, kept.stream, offset, kept.data, time_s, about)
        elif self._question.tasks:
            self._link.send(TaskFinished(*task, kept.slot, kept.outcome, kept.seconds, time_s))
            await self._link.drain()

    async def _give_data(
        self, position: int, stream: int, offset: int, data: bytes, time_s: float, about: TaskSpeaks | None = None
    ) -> None:
        """about: goes before it."""
        while self._credit[stream] < len(data) and not self._link.lost and not self._left:
            self._changed.clear()
            await self._changed.wait()
        if self._left or not data:
            return
        if about is not None:
            self._link.send(about)
        if self._question.moments:
            self._link.send(Moment(self.number, time_s))
        self._credit[stream] -= len(data)
        self._link.write(frames.stdio_frame(self.number, position, stream, offset, data))
        await self._link.drain()

    @property
    def _tasks(self) -> TaskNotes | None:
        """What is known of its tasks, if the master hands them out."""
        return self._record.tasks if self.live is None else self.live.job.tasks

    def _finish_known(self) -> None:
        outcomes: Mapping[int, Outcome] = self._record.outcomes() if self.live is None else self.live.job.outcomes
        for rank in self._ranks:
            if (outcome := outcomes.get(rank)) is not None:
                self._finish(rank, outcome)

    def _finish(self, rank: int, outcome: Outcome) -> None:
        position = self._position.get(rank)
        if position is not None and rank not in self._ended:
            self._ended.add(rank)
            notes = self._tasks
            if len(self._ended) == len(self._ranks) and notes is not None and notes.status is not None:
                self._tell_of_tasks(notes.status, notes.lines)
            self._link.send(messages.Finished(self.number, position, outcome))


    def _tell_of_tasks(self, status: int, lines: tuple[str, ...]) -> None:
        """Sent before the last rank's end, because nothing comes behind that."""
        if self._question.tasks:
            self._link.send(TasksConcluded(self.number, status, lines))


async def _read(reader: SpoolReader) -> list[SpoolEntry]:
    """Read in a thread.  If this task is cancelled meanwhile, it still waits for that thread."""
    reading = asyncio.ensure_future(asyncio.to_thread(reader.read))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})
        raise


def ranks_of(places: Sequence[Place], chosen: Sequence[Place]) -> list[int]:
    """The ranks of the chosen places."""
    wanted = set(chosen)
    return [rank for rank, place in enumerate(places) if place in wanted]
