"""Hands out the tasks of a list to the nodes of one job: the rules of `gproc map` and `Cluster.map`, without I/O.

A node says how many tasks it runs at a time (its slots).  A task goes to a node with a free slot.  If tasks there are
short, the node gets some in advance, so that it does not wait for the next one: as many as it runs in AHEAD_S.  Those
are called back if another node has nothing to do.

Every node of the job reads and checks all orders, whichever nodes they are for.  So there are few: when a node wants
more, all nodes get as many as they may have.

A task is given to another node only if its node says that it was not begun.  If a node is lost, so is every task that
it had and of which it had not said this, because it is not known whether it ran.  Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Union

from gproc.errors import PeerError, UsageError
from gproc.request.outcome import Lost, NotStarted, Outcome, Returned
from gproc.request.template import COMMAND_BYTES_MAX, CommandTooLong, Template
from gproc.request.wording import describe
from gproc.tasks.site import Site
from gproc.tasks.task import Task
from gproc.wire.frames import STDOUT
from gproc.wire.tasks import (
    Assign,
    Recall,
    Setup,
    TaskEnded,
    TaskOrder,
    TaskReport,
    TaskSaid,
    TasksReady,
    TasksReturned,
    order_record,
)

OUT_BYTES_MAX: Final = 16 << 20
"""Bytes of all tasks that were taken from the list and have not ended."""

RECORD_BYTES: Final = 256 << 10
"""Values in one order, but for a single task with more."""

LEAST_S: Final = 1e-4
LONG_S: Final = 1e9
"""A duration that a node reports is taken if it is between these."""

SMOOTH: Final = 0.2
"""Weight of the newest task in the mean duration on a node."""


class TaskOutput(NamedTuple):
    """A task has written this."""

    task: Task
    stream: Literal["stdout", "stderr"]
    data: bytes


class TaskDone(NamedTuple):
    """A task has ended, and all of its output came before.  rank, slot: where it ran; slot 0: not known."""

    task: Task
    rank: int
    slot: int
    outcome: Outcome
    seconds: float


TaskEvent = Union[TaskOutput, TaskDone]  # noqa: UP007


class TaskFeed:
    """last: the number of the last task.  failed: how many have failed.  lost: of how many it is not known whether they
    ran.  stopped: why no more tasks begin, as one clause; "" if they do.  signals: those that the job was sent to
    end it.  horizon: no task with a higher number is wanted yet.
    """

    def __init__(
        self, setup: Setup, template: Template, *, max_fail: int | None = None, out_bytes_max: int = OUT_BYTES_MAX
    ) -> None:
        self.failed = 0
        self.lost = 0
        self.stopped = ""
        self.signals: set[int] = set()
        self.horizon: int | None = None
        self.first_not_run: Task | None = None
        self._setup = setup
        self._template = template
        self._max_fail = max_fail
        self._out_bytes_max = out_bytes_max
        self._sites: list[Site] = []
        self._hungry: dict[int, None] = {}
        self._rooms: dict[int, int] = {}
        """How many more tasks each node may have, by rank, for nodes that may have more."""
        self._room = 0
        """The sum of `_rooms`."""
        self._pending: deque[Task] = deque()
        self._out_bytes = 0
        self._held = 0
        self.last = 0
        self._list_ended = False
        self._outgoing = bytearray()

    def begin(self, nodes: int) -> None:
        """The job has begun on so many nodes."""
        self._sites = [Site(rank) for rank in range(nodes)]
        self._outgoing += order_record(self._setup)

    # The list

    @property
    def wanted(self) -> int:
        """How many more tasks can be handed out now."""
        if self.stopped or self._list_ended or not self._hungry or self._out_bytes > self._out_bytes_max:
            return 0
        room = self._room - len(self._pending)
        if self.horizon is not None:
            room = min(room, self.horizon - self.last)
        return max(0, room)

    def check(self, values: tuple[bytes, ...], whose: str = "the") -> None:
        """Raises: UsageError if the command of a task with these values would be too long."""
        try:
            self._template.check(values)
        except CommandTooLong as error:
            most = f"{COMMAND_BYTES_MAX >> 20} MiB, the most that a program can have"
            raise UsageError(f"{whose} command would be longer than {most}") from error

    def add(self, line: int, values: tuple[bytes, ...]) -> Task:
        """The next task of the list.  Raises: UsageError if its command would be too long."""
        self.check(values, f"entry {line} of the list: its")
        self.last += 1
        task = Task(self.last, line, values)
        self._pending.append(task)
        self._out_bytes += task.size_bytes
        return task

    def end_list(self) -> None:
        self._list_ended = True

    def stop(self, why: str, signum: int = 0) -> None:
        """No more tasks begin; those that wait on nodes are called back.  signum: that the job is sent; 0: none."""
        if signum:
            self.signals.add(signum)
        if self.stopped:
            return
        self.stopped = why
        while self._pending:
            self._drop(self._pending.popleft())
        for site in self._sites:
            if site.excess > 0:
                self._recall(site)

    def drain(self, ranks: Iterable[int]) -> None:
        """These nodes get no new tasks, and give back those that wait there; what runs there goes on."""
        for site in (self._sites[rank] for rank in ranks):
            if not site.is_drained:
                site.is_drained = True
                self._note(site)
                if site.excess > 0:
                    self._recall(site)
        if all(each.closed is not None or each.is_drained for each in self._sites) and not self.is_over:
            self.stop("every node that is left is drained")

    @property
    def slots(self) -> int:
        """The slots of all nodes together."""
        return sum(site.slots for site in self._sites)

    @property
    def is_over(self) -> bool:
        """Whether no node will get a task any more."""
        return bool(self._list_ended or self.stopped) and not self._held and not self._pending

    @property
    def has_rest(self) -> bool:
        """Whether some of the list was not begun, as far as is known."""
        return self.first_not_run is not None or not self._list_ended

    @property
    def given(self) -> int:
        """How many tasks nodes have now."""
        return self._held

    @property
    def has_failed_enough(self) -> bool:
        """Whether so many tasks have failed that no more are to begin."""
        return self._max_fail is not None and self.failed >= self._max_fail

    @property
    def closed(self) -> dict[int, Outcome]:
        """Why nodes got no more tasks before the end, by rank."""
        return {site.rank: site.closed for site in self._sites if site.closed is not None}

    def outgoing(self) -> bytes:
        """The next bytes for the job's standard input.  The caller has added what tasks there are."""
        self._hand_out()
        if not self._pending and not self.stopped:
            self._call_back()
        out, self._outgoing = bytes(self._outgoing), bytearray()
        return out

    # What nodes say

    def output(self, rank: int, data: bytes | memoryview) -> Iterator[TaskEvent]:
        """Standard output of a node.  If it is none of its slave's reports, the node gets no more tasks."""
        site = self._sites[rank]
        if site.is_broken:
            return
        try:
            for report in site.reports.feed(data):
                yield from self._reported(site, report)
        except PeerError as error:
            site.is_broken = True
            yield from self.exited(rank, Lost(f"it sent something else than reports: {error}"))

    def exited(self, rank: int, outcome: Outcome) -> Iterator[TaskEvent]:
        """The node's part of the job has ended."""
        site = self._sites[rank]
        self._close(site, outcome)
        site.recalled = False
        reason = describe(outcome) or "its node has ended"
        for number in list(site.held):
            task = self._take_back(site, number)
            self._out_bytes -= task.size_bytes
            self.lost += 1
            yield TaskDone(task, rank, 0, Lost(reason.removeprefix("lost: ")), 0.0)
        if not self.is_over and all(each.closed is not None for each in self._sites):
            self.stop("no node is left")
        elif not self.is_over and all(each.closed is not None or each.is_drained for each in self._sites):
            self.stop("every node that is left is drained")

    def _reported(self, site: Site, report: TaskReport) -> Iterator[TaskEvent]:
        match report:
            case TasksReady(slots):
                site.slots = slots
                self._note(site)
            case TaskSaid(number, stream, data):
                if (task := site.held.get(number)) is None:
                    raise PeerError(f"output of task {number}, which it does not have")
                yield TaskOutput(task, "stdout" if stream == STDOUT else "stderr", data)
            case TaskEnded():
                yield from self._settled(site, report)
            case TasksReturned(numbers, recalled):
                for task in [self._take_back(site, number) for number in sorted(numbers, reverse=True)]:
                    self._again(task)
                site.recalled = site.recalled and not recalled
                self._note(site)

    def _settled(self, site: Site, report: TaskEnded) -> Iterator[TaskEvent]:
        task = self._take_back(site, report.number)
        outcome = report.outcome
        if report.elsewhere and isinstance(outcome, NotStarted):
            self._close(site, outcome)
            self._again(task)
            if site.excess > 0:
                self._recall(site)
            if all(each.closed is not None for each in self._sites):
                self.stop("no node can run it")
            return
        self._out_bytes -= task.size_bytes
        seconds = report.seconds if LEAST_S <= report.seconds < LONG_S else LEAST_S
        site.mean_s += (SMOOTH if site.mean_s else 1.0) * (seconds - site.mean_s)
        if isinstance(outcome, Lost):
            self.lost += 1
        else:
            self.failed += outcome.status != 0
        self._note(site)
        yield TaskDone(task, site.rank, report.slot, outcome, seconds)
        if self.has_failed_enough:
            self.stop(f"{self.failed} task{'s have' if self.failed > 1 else ' has'} failed")

    def _again(self, task: Task) -> None:
        """It was not begun."""
        if self.stopped:
            self._drop(task)
        else:
            self._pending.appendleft(task)

    def _drop(self, task: Task) -> None:
        self._out_bytes -= task.size_bytes
        if self.first_not_run is None or task.number < self.first_not_run.number:
            self.first_not_run = task

    def _take_back(self, site: Site, number: int) -> Task:
        task = site.lose(number)
        self._held -= 1
        return task

    def _close(self, site: Site, outcome: Outcome) -> None:
        if site.closed is None or isinstance(site.closed, Returned):
            site.closed = outcome
        self._note(site)

    # To nodes

    def _note(self, site: Site) -> None:
        room = site.room
        self._room += room - self._rooms.pop(site.rank, 0)
        if room:
            self._rooms[site.rank] = room
        if room and site.is_hungry:
            self._hungry[site.rank] = None
        else:
            self._hungry.pop(site.rank, None)

    def _hand_out(self) -> None:
        """If a node wants more: free slots get a task each, then nodes with short tasks some in advance, in turns."""
        if not self._hungry:
            return
        given: dict[int, list[Task]] = {}
        free = deque(self._sites[rank] for rank in self._hungry if self._sites[rank].is_free)
        while self._pending and free:
            site = free.popleft()
            if self._give(site, given) and site.is_free:
                free.append(site)
        ahead = deque(self._sites[rank] for rank in self._rooms)
        while self._pending and ahead:
            site = ahead.popleft()
            if self._may_wait(site) and self._give(site, given):
                ahead.append(site)
        for rank, tasks in given.items():
            for part in _parts(tasks):
                order = Assign(tuple(TaskOrder(task.number, task.values) for task in part))
                self._outgoing += order_record(order, rank)
            self._note(self._sites[rank])

    def _may_wait(self, site: Site) -> bool:
        """Whether a node gets a task in advance.  It would begin it before it can be told that too many have failed: so
        no more wait than would reach that number if all of them failed."""
        if self._max_fail is not None and self.failed + self._held >= self._max_fail:
            return False
        return len(site.held) < site.depth

    def _give(self, site: Site, given: dict[int, list[Task]]) -> bool:
        if not site.takes(self._pending[0]):
            return False
        task = self._pending.popleft()
        site.give(task)
        self._held += 1
        given.setdefault(site.rank, []).append(task)
        return True

    def _call_back(self) -> None:
        """A node is free and there is no task: another one may have too many."""
        if not any(self._sites[rank].is_free for rank in self._hungry):
            return
        fullest = max(self._sites, key=lambda site: -1 if site.recalled or not site.slots else site.excess)
        if fullest.excess > 0 and fullest.slots:
            self._recall(fullest)

    def _recall(self, site: Site) -> None:
        if not site.recalled:
            site.recalled = True
            self._outgoing += order_record(Recall(), site.rank)


def _parts(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Cut so that each part fits into one order."""
    part: list[Task] = []
    size = 0
    for task in tasks:
        if part and size + task.size_bytes > RECORD_BYTES:
            yield part
            part, size = [], 0
        part.append(task)
        size += task.size_bytes
    if part:
        yield part
