"""The master's table of jobs: each job's nodes, caller, state and outcomes.  Pure: time is an argument.

    running --the time is up, or no client is attached--> ending --every rank has ended--> ended
       `------------------------every rank has ended---------------------------------------------^

The master owns the jobs.  Clients attach to them; `gproc.service.live` keeps track of that.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cached_property

from gproc.nodespec import Place
from gproc.records.record import TaskNotes
from gproc.request.outcome import Killed, NotStarted, Outcome, Returned, Signalled, TimedOut
from gproc.request.spec import Caller, Request
from gproc.service.transfers import StagedBytes
from gproc.service.window import Window
from gproc.wire import frames


class JobState(Enum):
    """running: its programs run, or are about to.  ending: the master is ending them.  ended: none is left."""

    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"


class JobRecord:
    """One job.  places[rank]: the node of that rank.  outcomes: by rank, for the ranks that have ended.

    started_s, ended_s: Unix time; 0: it has not ended.  killed: whether its nodes were told to kill it.
    nodes: the places, folded.  missing: nodes that were named and not connected, folded.  name: "" if it has none.
    detached: no client need be attached.  spooled: its output is kept.
    window_bytes: credit of each of its streams.
    window: which ranks wait for their turn, if it runs on so many nodes at a time.
    staged: how much of a large bundle its nodes have.
    tasks: if the master hands out its tasks, what became of them; None: it does not.
    """

    def __init__(
        self, number: int, caller: Caller, request: Request, places: Sequence[Place], started_s: float
    ) -> None:
        self.number = number
        self.caller = caller
        self.request = request
        self.places = tuple(places)
        self.started_s = started_s
        self.ended_s = 0.0
        self.nodes = ""
        self.missing = ""
        self.name = ""
        self.window_bytes = frames.CLIENT_WINDOW_BYTES
        self.detached = False
        self.spooled = False
        self.tasks: TaskNotes | None = None
        self.staged = StagedBytes()
        self.state = JobState.RUNNING
        self.outcomes: dict[int, Outcome] = {}
        self.killed = False
        self._timed_out = False
        self._failure = ""
        ranks = range(len(self.places))
        self.window = None if request.fanout is None else Window(ranks, request.fanout, request.max_fail)

    def waits(self, rank: int) -> bool:
        """Whether a rank has not had its turn yet: nothing of it runs."""
        return self.window is not None and rank in self.window

    def end(self, *, timed_out: bool = False, failure: str = "") -> None:
        """Its programs are being ended.  timed_out: because its time is up.  failure: because of this fault of ours."""
        if self.state is JobState.RUNNING:
            self.state = JobState.ENDING
            self._timed_out = timed_out
            self._failure = failure

    def finish(self, rank: int, outcome: Outcome) -> Outcome | None:
        """A rank has ended.  Returns its outcome for the client; None if there is no such rank, or it ended before."""
        if rank in self.outcomes or not 0 <= rank < len(self.places):
            return None
        if self._timed_out:
            outcome = _timed_out(outcome, self.request.timeout_s or 0.0)
        if self._failure and isinstance(outcome, Killed) and not outcome.started:
            outcome = NotStarted(self._failure)
        self.outcomes[rank] = outcome
        if len(self.outcomes) == len(self.places):
            self.state = JobState.ENDED
        return outcome

    @property
    def over(self) -> bool:
        """Whether none of its programs is left."""
        return self.state is JobState.ENDED

    def runs_at(self, place: Place) -> bool:
        """Whether it has a rank on that node, which has had its turn and has not ended."""
        rank = self.rank_at(place)
        return rank is not None and rank not in self.outcomes and not self.waits(rank)

    def rank_at(self, place: Place) -> int | None:
        """The rank of a node; None: it has none."""
        return self._ranks.get(place)

    @cached_property
    def _ranks(self) -> dict[Place, int]:
        """Made when the first node asks for a lease, because most jobs are shorter than that."""
        return {place: rank for rank, place in enumerate(self.places)}

    def unfinished(self) -> Iterator[Place]:
        """The nodes on which the job still runs."""
        ranks = enumerate(self.places)
        return (place for rank, place in ranks if rank not in self.outcomes and not self.waits(rank))


class JobTable:
    """The jobs that have not ended, and those whose end is not on the disk yet.

    numbers: gives the number of each new job."""

    def __init__(self, numbers: Callable[[], int] | None = None) -> None:
        self._jobs: dict[int, JobRecord] = {}
        self._number = itertools.count(1).__next__ if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobRecord]:
        """The oldest first."""
        return iter(self._jobs.values())

    def add(self, caller: Caller, request: Request, places: Sequence[Place], now_s: float) -> JobRecord:
        """Raises: what `numbers` raises."""
        job = JobRecord(self._number(), caller, request, places, now_s)
        self.put(job)
        return job

    def put(self, job: JobRecord) -> None:
        """A job that has its number already."""
        self._jobs[job.number] = job

    def count_of(self, uid: int) -> int:
        """How many jobs of a user run."""
        return sum(job.caller.uid == uid and not job.over for job in self._jobs.values())

    def remove(self, number: int) -> None:
        self._jobs.pop(number, None)

    def running_at(self) -> Counter[Place]:
        """How many jobs run on each node."""
        return Counter(place for job in self._jobs.values() for place in job.unfinished())


def _timed_out(outcome: Outcome, timeout_s: float) -> Outcome:
    """The outcome of a program that gproc ended because the job's time was up; other outcomes stay unchanged."""
    match outcome:
        case Returned() | Signalled():
            return TimedOut(timeout_s, outcome)
        case Killed(signum, started):
            return TimedOut(timeout_s, Signalled(signum) if started else None)
        case _:
            return outcome
