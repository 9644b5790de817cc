"""One job's passage through one process: from above to those below that have a part in it, and back.

Rules only: it is told what came and calls what it was given to send; sockets and programs are elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from gproc.errors import EXIT_GPROC
from gproc.relay.flow import Inlet, Outlet, window_for
from gproc.wire import frames
from gproc.wire.messages import Branch, Credit, Finished, Message, Outcome, Peer, Run, Signed, Stocked, Window


class Above(Protocol):
    """Where a job came from: the link to the parent, or to the client."""

    def send(self, message: Message) -> None: ...

    def write(self, frame: bytes) -> None: ...


class Below(Protocol):
    """Someone with a part in the job: a child, or this node's own program."""

    def start(self, run: Run) -> None: ...

    def signal(self, job: int, signum: int) -> None: ...

    def resize(self, job: int, window: Window) -> None: ...

    def stdin(self, job: int, data: bytes) -> None: ...

    def credit(self, job: int, stream: int, size: int) -> None: ...

    def release(self, job: int) -> None: ...


class Passage:
    """A job here.  `unfinished` maps each rank that has not ended yet to who runs or relays it.

    bundle: what the ticket says that it runs, b"" for nothing that is sent.
    """

    def __init__(self, job: int, ticket: Signed, bundle: bytes, above: Above) -> None:
        self.job = job
        self.ticket = ticket
        self.bundle = bundle
        self.above = above
        self.unfinished: dict[int, Below] = {}
        self._below: list[Below] = []
        self._outlets: dict[int, Outlet[Below]] = {}
        self._inlet: Inlet[Below] | None = None
        self._queued: dict[int, int] = {}
        self._held: dict[int, Finished] = {}

    def start(
        self, run: Run, parts: Mapping[Below, Branch], absent: Iterable[Branch],
        feeding: Mapping[Below, tuple[Peer | None, ...]],
    ) -> None:  # fmt: skip
        """Send everyone their part of `run`.

        absent: parts whose node is not there any more; their ranks are lost.  feeding: who feeds whom, where the
        bundle is to be spread among siblings.
        """
        window_bytes = window_for(len(parts), run.window_bytes)
        for stream in (frames.STDOUT, frames.STDERR):
            self._outlets[stream] = Outlet(
                run.window_bytes,
                window_bytes,
                lambda frame: self.above.write(frame),
                lambda source, size, stream=stream: source.credit(self.job, stream, size),  # type: ignore[misc]
            )
        self._below = list(parts)
        if run.stdin:
            self._inlet = Inlet(
                window_bytes,
                run.window_bytes,
                self._below,
                lambda reader, data: reader.stdin(self.job, data),
                lambda size: self.above.send(Credit(self.job, frames.STDIN, size)),
            )
        for below, branch in parts.items():
            for rank in branch.ranks():
                self.unfinished[rank] = below
        for below, branch in parts.items():
            part = Run(run.job, run.size, run.ticket, branch, window_bytes, run.stdin, feeding.get(below, ()))
            below.start(part)
        for branch in absent:
            for rank in branch.ranks():
                self.above.send(Finished(self.job, rank, lost("not connected any more")))

    def signal(self, signum: int) -> None:
        for below in self._below:
            below.signal(self.job, signum)

    def resize(self, window: Window) -> None:
        for below in self._below:
            below.resize(self.job, window)

    def stdin(self, data: bytes) -> None:
        """Raises: PeerError for more than those above have credit for."""
        if self._inlet is not None:
            self._inlet.push(data)

    def credit_from_above(self, stream: int, size: int) -> None:
        outlet = self._outlets.get(stream)
        if outlet is None:
            return
        for rank in outlet.credit(size):
            self._queued[rank] -= 1
            self._let_go(rank)

    def credit_from_below(self, below: Below, size: int) -> None:
        if self._inlet is not None:
            self._inlet.credit(below, size)

    def output(self, below: Below, rank: int, stream: int, data: bytes | memoryview) -> None:
        """Output of one rank; what claims to be of a rank that is not `below`'s is dropped.

        Raises: PeerError for more than `below` has credit for.
        """
        outlet = self._outlets.get(stream)
        if outlet is None or not data or self.unfinished.get(rank) is not below:
            return
        if not outlet.push(rank, frames.stdio_frame(self.job, rank, stream, data), len(data), below):
            self._queued[rank] = self._queued.get(rank, 0) + 1

    def finished(self, below: Below, rank: int, outcome: Outcome) -> None:
        """A rank ended; said above after all of its output."""
        if self.unfinished.get(rank) is not below:
            return
        del self.unfinished[rank]
        self._held[rank] = Finished(self.job, rank, outcome)
        self._let_go(rank)

    def stocked(self, below: Below, rank: int, received_bytes: int, complete: bool) -> None:
        """How far the bundle of a rank is."""
        if self.unfinished.get(rank) is below:
            self.above.send(Stocked(self.job, rank, received_bytes, complete))

    def left(self, below: Below, reason: str) -> None:
        """Someone below is gone: their unfinished ranks are lost, and they hold nobody back."""
        if below not in self._below:
            return
        self._below.remove(below)
        for outlet in self._outlets.values():
            outlet.forget(below)
        if self._inlet is not None:
            self._inlet.forget(below)
        for rank in [rank for rank, runs_at in self.unfinished.items() if runs_at is below]:
            self.finished(below, rank, lost(reason))

    def release(self) -> None:
        for below in self._below:
            below.release(self.job)

    def _let_go(self, rank: int) -> None:
        if not self._queued.get(rank) and rank in self._held:
            self.above.send(self._held.pop(rank))


def lost(reason: str) -> Outcome:
    return Outcome(EXIT_GPROC, failure=reason, lost=True)
