"""A `concurrent.futures.Executor` whose workers are the nodes of a cluster: it runs commands, not functions.

It has one thread, which moves the bytes of its job.  `gproc.client.mapped` has the same without a thread.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, Any

from gproc.client.tasks import TaskResult, TasksNotRun, TaskValue, task_values
from gproc.errors import GprocError

if TYPE_CHECKING:
    from gproc.client.engine import Engine
    from gproc.client.mapped import RunningTasks


class NodesGone(BrokenExecutor):
    """An executor that takes no more tasks, because no node is left that runs them."""


class Submissions:
    """Tasks that were submitted and not yet handed out, and the futures of those that were handed out.  Any thread may
    use it."""

    def __init__(self) -> None:
        self.is_shut = False
        self.may_wait = False
        self._queue: deque[tuple[tuple[bytes, ...], Future[TaskResult]]] = deque()
        self._running: dict[int, Future[TaskResult]] = {}
        self._taken = 0

    # `gproc.client.tasks.TaskSource`

    @property
    def ended(self) -> bool:
        return self.is_shut and not self._queue

    def take(self) -> tuple[bytes, ...] | None:
        while self._queue:
            values, future = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                self._running[self._taken] = future
                self._taken += 1
                return values
        return None

    def add(self, values: tuple[bytes, ...]) -> Future[TaskResult]:
        future: Future[TaskResult] = Future()
        self._queue.append((values, future))
        return future

    @property
    def has_some(self) -> bool:
        return bool(self._queue)

    def settle(self, result: TaskResult) -> None:
        self._running.pop(result.index).set_result(result)

    def cancel(self) -> None:
        """Cancel the tasks that were not handed out."""
        for _, future in list(self._queue):
            future.cancel()

    def fail(self, error: BaseException) -> None:
        """The open futures will have no result."""
        while self._queue:
            _, future = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        for future in self._running.values():
            future.set_exception(error)
        self._running.clear()


class CommandExecutor(Executor):
    """`Cluster.executor` makes it.  A future's result is a `TaskResult`, whatever its status.

    If tasks cannot be run, their futures have `TasksNotRun`; if the master is gone, `LinkLost`.
    A program that ends without `shutdown` waits until all tasks have ended, as with executors of the standard library.
    """

    def __init__(self, engine: Engine, running: RunningTasks, submissions: Submissions) -> None:
        self._engine = engine
        self._tasks = running
        self._submissions = submissions
        self._lock = threading.Lock()
        self._broken: BaseException | None = None
        self._maker = os.getpid()
        self._thread = threading.Thread(target=self._work, name="gproc-executor", daemon=True)
        # The thread is a daemon: otherwise nothing would tell it that no more tasks come.
        # This is before its start: at its end, which may be at once, it takes this back.
        atexit.register(self._at_exit)
        try:
            self._thread.start()
        except BaseException:
            atexit.unregister(self._at_exit)
            raise

    def submit(self, *words: TaskValue) -> Future[TaskResult]:  # type: ignore[override]
        """Run the command once, with these words in the place of `{}`, or behind it.

        Raises: RuntimeError after `shutdown`; NodesGone if no node is left; UsageError for words that cannot be.
        """
        values = task_values(words)
        self._tasks.gathering.feed.check(values)
        with self._lock:
            if self._submissions.is_shut:
                raise RuntimeError("cannot submit a task after shutdown")
            if self._broken is not None:
                raise NodesGone(str(self._broken)) from self._broken
            future = self._submissions.add(values)
        self._wake()
        return future

    def map(  # type: ignore[override]
        self, fn: TaskValue, *iterables: Iterable[TaskValue], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[TaskResult]:
        """Submit the word `fn` with the words of each position of the iterables; the results are in their order.

        Raises: TypeError without iterables, for which the base class would do nothing; as `submit`.
        """
        if not iterables:
            raise TypeError("map takes a first word and iterables of further ones; Cluster.map takes values alone")
        return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)  # type: ignore[arg-type]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; with `wait`, wait until all have ended.  cancel_futures: those that do not run yet."""
        with self._lock:
            self._submissions.is_shut = True
            if cancel_futures:
                self._submissions.cancel()
        self._wake()
        if wait:
            self._thread.join()

    def _at_exit(self) -> None:
        if os.getpid() == self._maker:  # a process that was forked has neither the thread nor the tasks
            self.shutdown()

    def _wake(self) -> None:
        """Wake our thread, if it waits."""
        try:
            self._engine.call(lambda _session: None)
        except GprocError:
            return  # our thread has noticed

    def _work(self) -> None:
        failure: BaseException | None = None
        try:
            while self._step():
                pass
            self._tasks.gathering.check()
        except BaseException as error:  # noqa: BLE001 - those that wait for futures get it
            failure = error
        with self._lock:
            status, lines = self._tasks.gathering.conclude()
            self._broken = failure or TasksNotRun(status, lines or ["its tasks have ended"])
            self._submissions.fail(self._broken)
        atexit.unregister(self._at_exit)

    def _step(self) -> bool:
        """Returns False when the job has ended."""
        tasks, job = self._tasks, self._tasks.job
        tasks.hand_out()
        told = self._submissions.ended

        def has_work() -> bool:
            more = self._submissions.has_some and tasks.gathering.feed.wanted > 0
            return bool(job._events) or job._job.ended or more or self._submissions.ended != told

        self._engine.wait_until(has_work)
        while job._events:
            event: Any = job._take()
            tasks.gathering.take(event)
        for result in tasks.gathering.ready():
            self._submissions.settle(result)
        return not job._job.ended or bool(job._events)
