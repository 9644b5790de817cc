"""The facts about a job that has begun.  They are the same for every driver that moves its bytes."""

from __future__ import annotations

from collections import deque

from gproc.client.events import Departed, Event, Output
from gproc.client.session_job import SessionJob
from gproc.client.summary import conclusion
from gproc.errors import GprocError
from gproc.request.outcome import Outcome


class BegunJob:
    """The part that `gproc.Job` and `gproc.AsyncJob` share.  args: the command."""

    def __init__(self, job: SessionJob, args: tuple[str, ...]) -> None:
        self.args = args
        self._job = job
        self._events: deque[Event] = deque()

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
        return conclusion(self._job)[0]

    @property
    def summary(self) -> tuple[str, ...]:
        """A line for each kind of failure, as of `gproc.CompletedJob`; () while it runs."""
        if self.returncode is None:
            return ()
        return tuple(conclusion(self._job)[1])

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

    def _keep(self, event: Event) -> None:
        """Keep an event of the session for the caller.  An output's view is valid only until more is received."""
        if isinstance(event, Output):
            event = Output(event.node, event.stream, bytes(event.data), event.rank, event.time_s, event.task)
        self._events.append(event)
