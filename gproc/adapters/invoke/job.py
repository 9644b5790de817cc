"""A job of a client, from its ID to its end.  What it runs is in `processes` and `mpi`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

import gproc
from gproc.adapters.invoke.protocol import Status
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.adapters.invoke.states import JobStates, end_status
from gproc.errors import EXIT_GPROC
from gproc.shown import reason_of

log: Final = logging.getLogger("gproc.invoke")

Began = Callable[[str], None]
"""Is called when processes have begun, with a clause for the log."""

Notify = Callable[["InvokedJob", Status, str], None]


class WorkEnd(msgspec.Struct, frozen=True):
    """How the processes of a job ended.

    status: 0 if all went well, otherwise the highest exit status, as of `gproc e`.  reasons: a line for each failure.
    """

    status: int
    reasons: tuple[str, ...] = ()


NOT_STARTED: Final = WorkEnd(EXIT_GPROC, ("it was not started",))


class Workload(Protocol):
    """What a job runs."""

    async def run(self, began: Began, output: OutputFiles) -> WorkEnd:
        """Start all processes, take their output, and wait until all are gone.

        Raises: GprocError, OSError, ValueError if they could not be started.
        """

    def stop(self) -> None:
        """Kill all processes, and start no more."""


async def run_workload(work: Workload, began: Began, output: OutputFiles) -> WorkEnd:
    """Run it to its end, whatever happens: somebody waits for that.  `output` is closed then."""
    try:
        return await work.run(began, output)
    except (gproc.GprocError, OSError, ValueError) as error:
        return WorkEnd(getattr(error, "exit_status", EXIT_GPROC), (reason_of(error),))
    except Exception as error:
        log.exception("this is a bug in gproc")
        return WorkEnd(EXIT_GPROC, (f"a bug in gproc: {error!r}",))
    finally:
        output.close()


class InvokedJob:
    """A job that was accepted.

    id: what its client calls it.  placed: how many processes run on each node.  destroyed: its client wants its end.
    """

    def __init__(
        self, id: str, work: Workload, placed: Mapping[str, int], output: OutputFiles, notify: Notify
    ) -> None:  # fmt: skip
        """notify: is called with each new status and its reason."""
        self.id = id
        self.placed = placed
        self.destroyed = False
        self._states = JobStates()
        self._work = work
        self._output = output
        self._notify = notify

    @property
    def status(self) -> Status:
        return self._states.status

    @property
    def ended(self) -> bool:
        return self._states.ended

    async def run(self) -> None:
        """Run it to its end."""
        end = await run_workload(self._work, lambda clause: self._move("ACTIVE", clause), self._output)
        reason = "; ".join((*end.reasons, *self._output.lost))
        status = end_status(failed=end.status != 0 or bool(self._output.lost), destroyed=self.destroyed)
        log.info("%s: %s%s", self.id, status, f": {reason}" if reason else "")
        self._move(status, reason)

    def destroy(self) -> None:
        """Kill all processes, and start no more."""
        self.destroyed = True
        self._work.stop()

    def fail(self, reason: str) -> None:
        """Tell the client that it failed, if it has not ended."""
        self._move("FAILED", reason)

    def _move(self, status: Status, reason: str) -> None:
        if self._states.move(status):
            self._notify(self, status, reason)
