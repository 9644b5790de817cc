"""The facts about a job that has begun.  They are the same for every driver that moves its bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gproc.client.events import Departed, Event, Output, Started
from gproc.client.results import Collector
from gproc.client.session_job import SessionJob
from gproc.client.summary import conclusion
from gproc.errors import GprocError, UsageError
from gproc.request.outcome import Outcome

if TYPE_CHECKING:
    from gproc.client.brought import BroughtBack


class BegunJob:
    """The part that `gproc.Job` and `gproc.AsyncJob` share.  args: the command."""

    def __init__(self, job: SessionJob, args: tuple[str, ...], brought: BroughtBack | None = None) -> None:
        """brought: takes the files that it brings back; None: it brings none."""
        self.args = args
        self._job = job
        self._events: deque[Event] = deque()
        self._brought = brought
        self._files: deque[Output] = deque()
        """The parts of these files that are here and not written yet."""
        self._conclusion: tuple[int, list[str]] | None = None
        """The outcome of a job that brings files back, once all are here."""
        self._gathered: Collector | None = None
        """What `communicate` has taken so far, if it was called."""
        self._unsent = memoryview(b"")
        """The rest of its input."""

    @property
    def number(self) -> int | None:
        """The job's number, as `gproc ps` shows it; None before the master has taken it."""
        return self._job.number

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that it runs on, by rank; () before the master has taken it."""
        return self._job.nodes

    @property
    def missing(self) -> str:
        """Nodes that were named and are not connected, folded; "" if there are none."""
        return self._job.missing

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """The outcomes by node, for the nodes on which it has ended."""
        return self._job.outcomes_by_node()

    @property
    def returncode(self) -> int | None:
        """What `gproc e` would end with; None while it runs, and if this program has left it."""
        if not self._job.ended or self._job.left or self._job.rejected is not None:
            return None
        if self._brought is not None and self._conclusion is None:
            return None  # files are still to be written
        return self._concluded()[0]

    @property
    def summary(self) -> tuple[str, ...]:
        """A line for each kind of failure, as of `gproc.CompletedJob`; () while it runs."""
        if self.returncode is None:
            return ()
        return tuple(self._concluded()[1])

    def _concluded(self) -> tuple[int, list[str]]:
        return self._conclusion or conclusion(self._job)

    def _check_departure(self) -> None:
        """Raises: GprocError if the master ends the job that was to be left."""
        for event in self._events:
            if isinstance(event, Departed) and event.reason:
                raise GprocError(f"job {self.number} is ended: {event.reason}")

    def _ended_status(self) -> int:
        """`returncode` of a job of which no event will come.  Raises: GprocError if this program has left it."""
        if self.returncode is None:
            raise GprocError(f"this program has left job {self.number}, which goes on: attach to it to wait for it")
        return self.returncode

    def _gathering(self, input: bytes | None) -> Collector:
        """Begin to communicate, or go on after the time was up: then nothing is lost, as with subprocess.

        Raises: ValueError for input that comes when the first call has ended its own.
        """
        if self._gathered is None:
            self._gathered = Collector(self.args)
            self._unsent = memoryview(input or b"").cast("B")
        elif input:
            raise ValueError("cannot send input after communication has begun")
        return self._gathered

    def _keep(self, event: Event) -> None:
        """Keep an event of the session for the caller.  An output's view is valid only until more is received."""
        if isinstance(event, Output):
            event = Output(event.node, event.stream, bytes(event.data), event.rank, event.time_s, event.task)
            if event.stream == "files":
                self._files.append(event)
                return
        elif isinstance(event, Started) and self._brought is not None:
            self._brought.begin(self._job.places)
        self._events.append(event)

    # Files that it brings back

    def _bring(self) -> list[int]:
        """Write those that are here.  Returns the sizes of what was written.  One thread at a time may call it."""
        if self._brought is None:
            return []
        has_ended = self._job.ended
        sizes = []
        while self._files:
            part = self._files.popleft()
            self._brought.output(part.rank, memoryview(part.data))
            sizes.append(len(part.data))
        if has_ended and self._conclusion is None:
            self._brought.finish()
            status, lines = conclusion(self._job)
            failed, told = self._brought.conclude(self._job.outcomes)
            self._conclusion = max(status, failed), told + lines
        return sizes

    def _drop_files(self) -> None:
        """No caller waits for the files any more: drop those that are incomplete."""
        if self._brought is not None and self._conclusion is None:
            self._files.clear()
            self._brought.finish()
            self._conclusion = conclusion(self._job)

    def _check_leaving(self) -> None:
        """Raises: UsageError if the job needs this program."""
        if self._brought is not None:
            raise UsageError("a job that brings files to this program cannot go on without it")
