"""Tasks of one job as results, without I/O: what `Cluster.map`, its asyncio twin and `CommandExecutor` share."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Final, NamedTuple, Protocol

import msgspec

from gproc.client.events import Drained, Event, Exited, Output, Started
from gproc.client.options import Args, JobOptions, Word, asked, command_of
from gproc.client.session_job import SessionJob
from gproc.client.task_listing import WholeList
from gproc.errors import GprocError, UsageError
from gproc.packager import Bundle
from gproc.request.limits import COUNT_MAX, SLOTS_MAX
from gproc.request.outcome import Outcome
from gproc.request.spec import TIMEOUT_MAX_S, Request
from gproc.request.template import Template, completed
from gproc.tasks.feed import TaskDone, TaskEvent, TaskFeed, TaskOutput
from gproc.tasks.tallies import Tally
from gproc.tasks.task import Task
from gproc.wire.task_messages import TaskListing
from gproc.wire.tasks import VALUES_MAX, Setup

LEAD: Final = 500
"""Results in the order of the values: how far tasks may be ahead of the one that comes next, or twice all slots."""

TaskValue = Word | int | float
"""What replaces `{}`: a text, a path or a number."""


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has ended, as `subprocess.CompletedProcess` is a process that has ended.

    index: its place among the values, from 0.  values: what replaced `{}`.  node: where it ran ("1/7").
    seconds: how long it ran there.

        >>> [result.stdout for result in cluster.map("./.", ["echo"], ["a", "b"])]
        [b'a\\n', b'b\\n']
    """

    index: int
    values: tuple[str, ...]
    node: str
    outcome: Outcome
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def returncode(self) -> int:
        """The exit status that a shell would show."""
        return self.outcome.status


class TasksNotRun(GprocError):
    """Some tasks were not run: no node is left, or none can run the command.

    returncode: what `gproc map` would end with.  summary: what it would say.
    """

    def __init__(self, returncode: int, summary: Sequence[str]) -> None:
        super().__init__("; ".join(summary))
        self.returncode = returncode
        self.summary = tuple(summary)


class TaskSource(Protocol):
    """A source of tasks."""

    may_wait: bool
    """Whether `take` may take any time.  Then each task is sent before the next one is taken."""

    @property
    def ended(self) -> bool:
        """Whether no more will come."""

    def take(self) -> tuple[bytes, ...] | None:
        """The values of the next task; None if it is not here yet, or no more will come."""


class Listed:
    """Tasks of an iterable, which is read as they are handed out."""

    def __init__(self, values: Iterable[TaskValue | Sequence[TaskValue]]) -> None:
        self.ended = False
        self.may_wait = not isinstance(values, Sized)
        self._values = iter(values)

    def take(self) -> tuple[bytes, ...] | None:
        try:
            return task_values(next(self._values))
        except StopIteration:
            self.ended = True
            return None


class BegunTasks(NamedTuple):
    """What a job of tasks begins with.  listing: the same as `feed`, for a master that hands them out."""

    request: Request
    bundle: Bundle | None
    words: tuple[str, ...]
    feed: TaskFeed
    listing: TaskListing


class TaskGathering:
    """Hands out tasks, and makes results of what comes.  ordered: results are in the order of the tasks."""

    def __init__(self, job: SessionJob, feed: TaskFeed, source: TaskSource, *, ordered: bool) -> None:
        self.feed = feed
        self._job = job
        self._source = source
        self._ordered = ordered
        self._tally = Tally("task")
        self._said: dict[int, dict[str, list[bytes]]] = {}
        self._waiting: dict[int, TaskResult] = {}
        self._next = 1
        self._ready: deque[TaskResult] = deque()

    def ready(self) -> Iterator[TaskResult]:
        """The results that can be taken now, each once."""
        while self._ready:
            yield self._ready.popleft()

    @property
    def wants_more(self) -> bool:
        """Whether nodes are free for a task that was not taken yet, because the source may wait for it."""
        return self.feed.wanted > 0

    def outgoing(self) -> bytes:
        """Take what tasks there are, and return the next bytes for the job's standard input.  Raises: UsageError."""
        if self._ordered:
            self.feed.horizon = self._next + max(LEAD, 2 * self.feed.slots)
        wanted = self.feed.wanted
        while wanted > 0 and (values := self._source.take()) is not None:
            self.feed.add(self.feed.last + 1, values)
            wanted = 0 if self._source.may_wait else wanted - 1 or self.feed.wanted
        if self._source.ended:
            self.feed.end_list()
        return self.feed.outgoing()

    def take(self, event: Event) -> None:
        """Something has happened to the job."""
        match event:
            case Started(nodes):
                self.feed.begin(len(nodes))
            case Output(_, "stdout", data, rank):
                self._note(self.feed.output(rank, data))
            case Exited(_, outcome, rank):
                self._note(self.feed.exited(rank, outcome))
            case Drained(ranks):
                self.feed.drain(ranks)
            case _:
                pass

    def conclude(self) -> tuple[int, list[str]]:
        """What `gproc map` would end with, and what it would say."""
        return self._tally.conclude(self.feed, self._job.places, self._job.missing, self._job.naming)

    def check(self) -> None:
        """Raises: TasksNotRun if tasks were not run, unless so many had failed that none was to run any more."""
        if self.feed.stopped and not self.feed.has_failed_enough:
            raise TasksNotRun(*self.conclude())

    def _note(self, events: Iterable[TaskEvent]) -> None:
        for event in events:
            if isinstance(event, TaskOutput):
                said = self._said.setdefault(event.task.number, {"stdout": [], "stderr": []})
                said[event.stream].append(event.data)
            else:
                self._done(event)

    def _done(self, done: TaskDone) -> None:
        self._tally.add(done)
        result = self._result(done.task, done)
        if not self._ordered:
            self._ready.append(result)
            return
        self._waiting[done.task.number] = result
        while (following := self._waiting.pop(self._next, None)) is not None:
            self._ready.append(following)
            self._next += 1

    def finish(self) -> None:
        """No more tasks end: of those that are ready, some before them may not have run."""
        self._ready.extend(self._waiting[number] for number in sorted(self._waiting))
        self._waiting.clear()

    def _result(self, task: Task, done: TaskDone) -> TaskResult:
        said = self._said.pop(task.number, {"stdout": [], "stderr": []})
        return TaskResult(
            index=task.number - 1, values=tuple(map(os.fsdecode, task.values)), node=self._job.nodes[done.rank],
            outcome=done.outcome, stdout=b"".join(said["stdout"]), stderr=b"".join(said["stderr"]),
            seconds=done.seconds,
        )  # fmt: skip


def task_values(values: TaskValue | Sequence[TaskValue]) -> tuple[bytes, ...]:
    """The values of one task.  Raises: UsageError for what cannot be an argument."""
    several = (values,) if isinstance(values, str | bytes | os.PathLike | int | float) else values
    try:
        words = tuple(os.fsencode(str(value) if isinstance(value, int | float) else value) for value in several)
    except TypeError:
        raise TypeError(f"a value is a text, a path, a number, or a sequence of these, not {values!r:.100}") from None
    if len(words) > VALUES_MAX:
        raise UsageError(f"a task has {len(words)} values; {VALUES_MAX} are possible")
    if any(b"\0" in word for word in words):
        raise UsageError("a value has a zero byte, which no argument can have")
    return words


def tasks_of(
    nodes: str, args: Args, *, per_node: int, timeout: float | None, options: JobOptions
) -> BegunTasks:
    """Raises: UsageError, SpecError; BundleError if the program cannot be packed."""
    if not 0 <= per_node <= SLOTS_MAX:
        raise UsageError(f"per_node is {per_node}: a number from 0 to {SLOTS_MAX} is wanted")
    if timeout is not None and not 0 < timeout <= TIMEOUT_MAX_S:
        raise UsageError(f"timeout is {timeout}: a number of seconds above 0 is wanted")
    for name in ("fanout", "spool", "on_disconnect", "collect"):
        if options.get(name):
            raise UsageError(f"{name} is for a job that runs one program on each node, and not for tasks of a list")
    max_fail = options.pop("max_fail", None)
    shell = options.get("shell", False)
    command = completed(command_of(args), shell=shell)
    request, bundle, words = asked(nodes, command, stdin=True, timeout=None, options=options, action="map")
    setup = Setup(per_node, timeout, shell)
    feed = TaskFeed(setup, Template(request.argv, quoted=shell), max_fail=max_fail)
    if max_fail is not None and not 1 <= max_fail <= COUNT_MAX:
        raise UsageError(f"max_fail is {max_fail}: a number from 1 to {COUNT_MAX} is wanted")
    return BegunTasks(request, bundle, words, feed, TaskListing(per_node, timeout, shell, max_fail, "task"))


def begun_list(tasks: BegunTasks) -> WholeList:
    """No value yet of what the master gets."""
    return WholeList(Template(tasks.request.argv, quoted=tasks.listing.quoted))


def whole_list(tasks: BegunTasks, values: Iterable[TaskValue | Sequence[TaskValue]]) -> bytes:
    """All values, as the master gets them.  Raises: UsageError for what cannot be, or too many of them."""
    whole = begun_list(tasks)
    for number, each in enumerate(values, 1):
        whole.add(number, task_values(each))
    return whole.data()
