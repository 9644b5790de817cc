"""`gproc map --detach` in the simulator: a client sends its list and leaves, and the product's master hands it out.

Of the job the spool tells all: `look_at_tasks` reads what tasks wrote and how they ended, by the product's own rules.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gproc.nodespec import Place
from gproc.records.entries import END, Broken, SpoolEntry
from gproc.records.record import TaskNotes
from gproc.records.task_entries import KeptEnd, KeptPiece, tasks_in
from gproc.records.task_lists import TaskListFile
from gproc.request.outcome import Lost, Outcome, Returned
from gproc.service.listed import ListedJob
from gproc.service.live import LiveJob
from gproc.wire import frames, messages
from gproc.wire.job_messages import Detached
from gproc.wire.tasks import FAILED_MAX, listed_record
from tests.simulator.clients import SimClient
from tests.simulator.front import SimJob
from tests.simulator.tasks import TASKS_MAX, code_of, said_by, values_of

if TYPE_CHECKING:
    from tests.simulator.world import World

PIECE_BYTES: Final = 700
"""How much of a list is sent at a time."""


class SimListedJob(SimJob, ListedJob):
    """As the product's, and looks at what comes."""

    @property
    def client(self) -> SimLister:
        """The one that has begun it."""
        client: Any = self._client
        assert isinstance(client, SimLister)
        return client

    @property
    def file(self) -> TaskListFile:
        return self._file

    def write(self, frame: bytes) -> None:
        super().write(frame)
        _, rank, stream, offset, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        self._passed[rank, stream] = offset + len(data)

    def signal(self, signum: int) -> None:
        if signum == signal.SIGKILL and not self.job.over:
            self.world.map_facts[self.job.number].is_killed = True
        super().signal(signum)

    def drain(self, places: Sequence[Place]) -> None:
        self.world.map_facts[self.job.number].note_drained(self.feed, map(self.job.rank_at, places))
        super().drain(places)


class SimLister(SimClient):
    """The client of `gproc map --detach`."""

    def begin(self, live: LiveJob) -> None:
        self.jobs[live.job.number] = live
        self._live = live
        job, count = live.job.number, self._world.random.randint(0, TASKS_MAX)
        self._world.map_facts[job].count = count
        self._rest = b"".join(listed_record(task, values_of(job, task)) for task in range(1, count + 1))
        self._credit = frames.CLIENT_WINDOW_BYTES
        self._is_sent = False
        self._send_later()

    def _send_later(self) -> None:
        asyncio.get_running_loop().call_later(self._world.random.uniform(0.0, 0.1), self._send_some)

    def _send_some(self) -> None:
        if self.lost or self._is_sent or self._live.job.number not in self.jobs or self._live.job.over:
            return
        size = min(self._credit, len(self._rest), self._world.random.randint(1, PIECE_BYTES))
        if size or not self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            self._credit -= size
            self._is_sent = not data
            self._live.stdin(data)
            self._send_later()

    def send(self, message: messages.Message) -> None:
        match message:
            case messages.Credit(_, frames.STDIN, size):
                if not self._credit:
                    self._send_later()
                self._credit += size
            case Detached(job, reason):
                facts = self._world.map_facts[job]
                facts.is_left = not reason
                if not reason and not self._is_sent:
                    self._world.fail(f"job {job}: its client may leave, and has not sent all of its list")
            case _:
                pass


def look_at_tasks(
    world: World, job: int, entries: Sequence[SpoolEntry], outcomes: Mapping[int, Outcome], notes: TaskNotes | None
) -> None:
    """Check what the spool has of a job whose tasks the master handed out.  notes: None if the job ended with its
    master."""
    facts, may_lack = world.map_facts[job], world.jobs[job].may_lack
    at: dict[int, int] = {}
    said: dict[int, bytes] = {}
    ends: dict[int, tuple[int, KeptEnd]] = {}
    ended: set[int] = set()
    for rank, kind, offset, _, data in entries:
        if kind == END:
            ended.add(rank)
            continue
        got = at.get(rank, 0)
        if kind != frames.STDOUT or (data and rank in ended) or not (offset >= got if may_lack else offset == got):
            world.fail(f"job {job} rank {rank} stream {kind}: byte {offset} is kept after byte {got}, or its end")
        at[rank] = offset + len(data)
        try:
            kept_tasks = tasks_in(data) if data else ()
        except Broken as error:
            world.fail(f"job {job} rank {rank}: what is kept of its tasks is broken: {error}")
            return
        for kept in kept_tasks:
            what = f"job {job} task {kept.number}"
            if kept.number in ends:
                world.fail(f"{what}: something is kept behind its end")
            if (kept.line, kept.values) != (kept.number, values_of(job, kept.number)):
                world.fail(f"{what}: line {kept.line} of the list is kept with it, and other values")
            if isinstance(kept, KeptPiece):
                said[kept.number] = said.get(kept.number, b"") + kept.data
            else:
                ends[kept.number] = rank, kept
    for task, (rank, end) in ends.items():
        what = f"job {job} task {task}"
        match end.outcome:
            case Returned(code):
                is_right = task in facts.ended and facts.begun.get(task) == rank and code == code_of(job, task)
                if not is_right or (not may_lack and said.get(task, b"") != said_by(job, task)):
                    world.fail(f"{what}: {code} on rank {rank} is kept, and {len(said.get(task, b''))} bytes")
            case Lost():
                if isinstance(outcomes.get(rank), Returned):
                    world.fail(f"{what}: is kept as lost, and its node {rank} is not")
            case _:
                if not facts.is_killed and not world.may_end_outside(job, rank):
                    world.fail(f"{what}: {end.outcome} is kept, which nothing here can cause")
    if notes is not None:
        _look_at_notes(world, job, {task: end.outcome for task, (_, end) in ends.items()}, outcomes, notes)


def _look_at_notes(
    world: World, job: int, ends: Mapping[int, Outcome], outcomes: Mapping[int, Outcome], notes: TaskNotes
) -> None:
    """Check what its user is told at the end."""
    facts, may_lack = world.map_facts[job], world.jobs[job].may_lack
    if not may_lack and (forgotten := facts.begun.keys() - ends.keys()):
        world.fail(f"job {job}: tasks {sorted(forgotten)} have begun, and it is not kept how they ended")
    if notes.status is None:
        world.fail(f"job {job} is over, and nothing is noted of its tasks")
    if notes.status == 0 and (facts.is_killed or len(facts.ended) != facts.count):
        world.fail(f"job {job} is told as well ended: {len(facts.ended)} tasks of {facts.count} have ended")
    if may_lack or facts.is_killed or facts.drained:
        return
    everything = (*ends.values(), *outcomes.values())
    failed = sum(outcome.status != 0 for outcome in ends.values())
    if all(isinstance(outcome, Returned) for outcome in everything):
        if len(ends) != facts.count or notes.status != min(failed, FAILED_MAX):
            world.fail(f"job {job}: {len(ends)} tasks of {facts.count} are kept, {failed} failed; noted: {notes}")
    elif not notes.status:
        world.fail(f"job {job}: not all is well, and noted is {notes}")
