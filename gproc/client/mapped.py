"""`Cluster.map`: tasks of one job, as an iterator of their results."""

from __future__ import annotations

import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack, overload

from gproc.client.job import Job
from gproc.client.options import Args, JobOptions, keep_of
from gproc.client.tasks import (
    BegunTasks,
    Listed,
    TaskGathering,
    TaskResult,
    TaskSource,
    TaskValue,
    tasks_of,
    whole_list,
)
from gproc.errors import GprocError
from gproc.naming.naming import PLACES, MeantNodes, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.wire.job_messages import Keep
from gproc.wire.task_messages import TaskListing

if TYPE_CHECKING:
    from gproc.client.engine import Engine
    from gproc.client.executor import CommandExecutor

E = TypeVar("E", bound=BaseException)


class MappedTasks(Iterator[TaskResult]):
    """The results of tasks.  The tasks make progress while a call waits for the next one.

    At the end of the `with` block, and by `close()`, tasks that still run are killed.
    """

    def __init__(self, running: RunningTasks) -> None:
        self._running = running
        self._steps = self._results()

    @property
    def returncode(self) -> int:
        """What `gproc map` would end with if nothing more came: 0 if all tasks so far have ended well."""
        return self._running.gathering.conclude()[0]

    @property
    def summary(self) -> tuple[str, ...]:
        """What `gproc map` would say of tasks and nodes so far."""
        return tuple(self._running.gathering.conclude()[1])

    def __next__(self) -> TaskResult:
        """Raises: TasksNotRun at the end if some were not run; JobRejected, LinkLost, UsageError."""
        return next(self._steps)

    def close(self) -> None:
        """End the tasks that still run.  A second call does nothing."""
        self._steps.close()
        self._running.abandon()

    def __enter__(self) -> MappedTasks:
        return self

    def __exit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        self.close()

    def _results(self) -> Generator[TaskResult, None, None]:
        running = self._running
        try:
            while running.step():
                yield from running.gathering.ready()
            yield from running.gathering.ready()
            running.gathering.check()
        finally:
            running.abandon()


class RunningTasks:
    """A job of tasks; the thread that calls `step` moves it."""

    def __init__(self, engine: Engine, job: Job, gathering: TaskGathering) -> None:
        self.gathering = gathering
        self.job = job
        self._engine = engine

    def step(self) -> bool:
        """Hand out tasks, and wait until something happens.  Returns False when the job has ended.

        Raises: JobRejected, LinkLost; UsageError for a task that cannot be.
        """
        self.hand_out()
        self._engine.wait_until(self._has_news, 0.0 if self.gathering.wants_more else None)
        self.job._bring_files()
        event = self.job._take() if self.job._events or self.job._job.ended else None
        while event is not None:
            self.gathering.take(event)
            event = self.job._take() if self.job._events else None
        if self.job._job.ended and not self.job._events:
            self.gathering.finish()
            return False
        return True

    def _has_news(self) -> bool:
        return bool(self.job._events or self.job._files) or self.job._job.ended

    def hand_out(self) -> None:
        data = self.gathering.outgoing()
        assert self.job.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # how it ended comes as an event
            if data:
                self.job.stdin.write(data)
            if self.gathering.feed.is_over:
                self.job.stdin.close()

    def abandon(self) -> None:
        """Kill what still runs."""
        with contextlib.suppress(GprocError):  # the master is gone, and with it the job
            if not self.job._job.ended:
                self._engine.call(lambda session: session.signal(self.job._job, signal.SIGKILL))


class TaskCluster(ABC):
    """What a cluster does with tasks."""

    _engine: Engine

    @overload
    def map(
        self, nodes: str, args: Args, values: Iterable[TaskValue | Sequence[TaskValue]], *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, detach: Literal[False] = False,
        **options: Unpack[JobOptions],
    ) -> MappedTasks: ...  # fmt: skip
    @overload
    def map(
        self, nodes: str, args: Args, values: Iterable[TaskValue | Sequence[TaskValue]], *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, detach: Literal[True], **options: Unpack[JobOptions],
    ) -> Job: ...  # fmt: skip

    def map(
        self, nodes: str, args: Args, values: Iterable[TaskValue | Sequence[TaskValue]], *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, detach: bool = False, **options: Unpack[JobOptions],
    ) -> MappedTasks | Job:  # fmt: skip
        """Run a program once for each value, on whichever node is free, as `gproc map` does.

        args: the command, with replacement strings; without any, the value is its last word.
        values: texts, paths or numbers, or sequences of them for a task with several; read as they are handed out.
        ordered: results come in the order of the values; else as tasks end.
        per_node: tasks that run on a node at a time; 0: as many as it has processors.
        timeout: seconds that one task may run.  options: of `run`; `max_fail` counts tasks.
        detach: give the master all values, and return when it can hand them out without this program.  The result is a
        job as of `popen` with `detach`: it has a number; `logs` and `attach` have what its tasks write, as `Output`
        with its `task`, and how they end, as `TaskExited`; `wait` returns what `gproc map` would end with.

        Raises: JobRejected, BundleError, SpecError, UsageError, LinkLost.

            >>> for result in cluster.map("./.", ["./simulate", "--seed"], range(1000)):
            ...     print(result.index, result.node, result.returncode)
        """
        begun = self._tasks(nodes, args, per_node=per_node, timeout=timeout, options=options)
        if detach:
            return self._detach_tasks(begun, values, keep_of(options, detach=True))
        return MappedTasks(self._run_tasks(begun, Listed(values), ordered=ordered, options=options))

    def _detach_tasks(
        self, begun: tuple[BegunTasks, Naming], values: Iterable[TaskValue | Sequence[TaskValue]], keep: Keep | None
    ) -> Job:
        tasks, naming = begun
        data = whole_list(tasks, values)
        job = self._submit(tasks.request, tasks.bundle, tasks.words, keep, naming, tasks.listing)
        job._begun()
        assert job.stdin is not None
        job.stdin.write(data)
        job.stdin.close()
        self._engine.wait_until(lambda: job._job.left or job._job.ended)
        job._check_departure()
        return job

    def executor(
        self, nodes: str, args: Args, *, per_node: int = 0, timeout: float | None = None,
        **options: Unpack[JobOptions],
    ) -> CommandExecutor:  # fmt: skip
        """A `concurrent.futures.Executor` for commands: each `submit(*words)` runs `args` with these words.

        It starts one thread of this process, which ends with it.  Keywords and errors: as of `map`.

            >>> with cluster.executor("./.", ["./simulate"]) as pool:
            ...     futures = [pool.submit("--seed", seed) for seed in range(1000)]
            ...     print(futures[7].result().stdout)
        """
        from gproc.client.executor import CommandExecutor, Submissions

        begun = self._tasks(nodes, args, per_node=per_node, timeout=timeout, options=options)
        submissions = Submissions()
        running = self._run_tasks(begun, submissions, ordered=False, options=options)
        return CommandExecutor(self._engine, running, submissions)

    def _tasks(
        self, nodes: str, args: Args, *, per_node: int, timeout: float | None, options: JobOptions
    ) -> tuple[BegunTasks, Naming]:
        meant = self._meant(nodes, options.get("exclude", ""))
        options["exclude"] = meant.exclude
        return tasks_of(meant.nodes, args, per_node=per_node, timeout=timeout, options=options), meant.naming

    def _run_tasks(
        self, begun: tuple[BegunTasks, Naming], source: TaskSource, *, ordered: bool, options: JobOptions
    ) -> RunningTasks:
        tasks, naming = begun
        job = self._submit(tasks.request, tasks.bundle, tasks.words, keep_of(options), naming)
        job._begun()
        return RunningTasks(self._engine, job, TaskGathering(job._job, tasks.feed, source, ordered=ordered))

    @abstractmethod
    def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes: ...

    @abstractmethod
    def _submit(
        self, request: Request, bundle: Bundle | None, words: tuple[str, ...], keep: Keep | None = None,
        naming: Naming = PLACES, listing: TaskListing | None = None,
    ) -> Job: ...  # fmt: skip
