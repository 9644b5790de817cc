"""A job in the foreground that runs tasks of a list: reads the list as it is handed out, and shows what tasks write."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Final

from gproc.cli.foreground import Foreground
from gproc.cli.task_list import TaskList
from gproc.cli.task_output import JobLog, Printing
from gproc.cli.task_progress import TaskCounts
from gproc.cli.trace import Trace
from gproc.client.driver import PollDriver
from gproc.client.events import Drained, Event, Stream
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Progress
from gproc.errors import EXIT_SIGNAL_BASE, GprocError
from gproc.nodespec import Place
from gproc.request.outcome import Lost, Outcome
from gproc.request.wording import name_of
from gproc.tasks.feed import TaskDone, TaskFeed, TaskOutput
from gproc.tasks.tallies import Tally

LEAD: Final = 500
"""In the order of the list: tasks that may be ahead of one whose output is printed next, or twice all slots."""

ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})


class TaskSink:
    """Takes what the nodes report: the `Sink` of such a job."""

    def __init__(self, feed: TaskFeed, tally: Tally, printing: Printing, log: JobLog | None, *, in_order: bool) -> None:
        self._feed = feed
        self._tally = tally
        self._printing = printing
        self._log = log
        self._in_order = in_order
        self.name: Callable[[int], str] = str
        """The name of the node of a rank."""
        self._done = 0

    @property
    def counts(self) -> TaskCounts:
        return TaskCounts(self._done, self._feed.failed, self._feed.given)

    def begin(self, places: Sequence[Place]) -> None:
        self._feed.begin(len(places))

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        if stream == "stdout":
            for event in self._feed.output(rank, data):
                self._take(event)

    def ended(self, rank: int, outcome: Outcome) -> None:
        for event in self._feed.exited(rank, outcome):
            self._take(event)

    def finish(self) -> None:
        self._printing.finish()
        if self._log is not None:
            self._log.close()

    def bound(self) -> None:
        """Say how far tasks may be ahead of what is printed."""
        if self._in_order:
            self._feed.horizon = self._printing.next + max(LEAD, 2 * self._feed.slots)

    def _take(self, event: TaskOutput | TaskDone) -> None:
        if isinstance(event, TaskOutput):
            if self._log is not None:
                self._log.output(event)
            self._printing.output(event)
            return
        self._done += 1
        self._tally.add(event)
        if self._log is not None:
            self._log.done(event, self.name(event.rank))
        self._printing.done(event)


class MappingForeground(Foreground):
    """Hands out the list.  stopped_by: the signal with which the user ended it; 0: none."""

    def __init__(
        self, driver: PollDriver, job: SessionJob, sink: TaskSink, progress: Progress, trace: Trace,
        feed: TaskFeed, entries: TaskList, first: tuple[int, bytes],
    ) -> None:  # fmt: skip
        """first: an entry of the list that was read before."""
        super().__init__(driver, job, sink, progress, trace, None, sink.ended)
        self.stopped_by = 0
        self._tasks = sink
        self._feed = feed
        self._entries = entries
        self._first: tuple[int, bytes] | None = first
        self._waiting = memoryview(b"")
        self._input_ended = False
        sink.name = lambda rank: job.nodes[rank]

    def _step(self) -> None:
        if self.job.places:
            self._hand_out()
        super()._step()

    def _happened(self, event: Event) -> None:
        self._stop_if_signalled()  # before all nodes that the signal ended seem to be none that are left
        if isinstance(event, Drained):
            self._feed.drain(event.ranks)
        else:
            super()._happened(event)

    def _lose(self) -> None:
        if self._first is not None or not self._entries.ended:
            self._feed.stop("the master was lost")
        for rank in range(len(self.job.places)):
            if rank not in self.job.outcomes:
                self._tasks.ended(rank, Lost("its end was not reported"))

    def _stop_if_signalled(self) -> None:
        if self.stopped_by:
            self._feed.stop(f"{name_of(self.stopped_by)} has ended it")

    def _hand_out(self) -> None:
        self._stop_if_signalled()
        self._tasks.bound()
        try:
            self._take_entries()
        except GprocError as error:
            self._bad_list(error)
        if not self._waiting:
            self._waiting = memoryview(self._feed.outgoing())
        while self._waiting and self.job.stdin_credit > 0 and not self.job.ended:
            self._waiting = self._waiting[self._driver.session.write_stdin(self.job, self._waiting) :]
        if self._feed.is_over and not self._waiting and not self._input_ended:
            self._input_ended = True
            self._driver.session.end_stdin(self.job)

    def _take_entries(self) -> None:
        """Take the entries of the list that are here, if nodes want some, and watch for the rest."""
        wanted = self._feed.wanted
        while wanted > 0 and (entry := self._next()) is not None:
            self._feed.add(entry[0], (entry[1],))
            wanted = wanted - 1 or self._feed.wanted
        self._stdin = self._entries.source if self._feed.wanted > 0 and self._first is None else None
        if self._entries.ended and self._first is None:
            self._feed.end_list()

    def _next(self) -> tuple[int, bytes] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._entries.take()

    def _read_stdin(self) -> None:
        try:
            self._entries.read()
        except GprocError as error:
            self._bad_list(error)

    def _bad_list(self, error: GprocError) -> None:
        self.problem = str(error)
        self._stdin = None
        self._feed.stop("the list is at fault")

    def _on_signal(self, signum: int, _frame: object) -> None:
        if signum in ENDING:
            self.stopped_by = self.stopped_by or signum
        super()._on_signal(signum, _frame)

    def _signal(self, signum: int) -> None:
        if signum in ENDING:
            self._feed.signals.add(signum)
        super()._signal(signum)

    def stop(self) -> None:
        self.stopped_by = self.stopped_by or signal.SIGTERM
        super().stop()

    @property
    def signal_status(self) -> int:
        """The exit status if a signal has ended it; 0: none has."""
        return EXIT_SIGNAL_BASE + self.stopped_by if self.stopped_by else 0
