"""Relays one job in one process: from upstream to the downstreams that have a part in it, and back.

Rules only, no I/O: callers report what arrived, and callbacks send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from gproc.relay.flow import Inlet, Outlet
from gproc.request.acts import Act
from gproc.request.outcome import Lost, Outcome
from gproc.request.spec import Request
from gproc.wire import frames
from gproc.wire.credit import window_for
from gproc.wire.frames import InputBlock
from gproc.wire.messages import (
    Branch,
    Credit,
    Finished,
    Message,
    Peer,
    Run,
    Signed,
    StageProgress,
)


class Upstream(Protocol):
    """The link that a job came from: to the parent, or to the client."""

    def send(self, message: Message) -> None: ...

    def write(self, frame: bytes) -> None: ...


class Downstream(Protocol):
    """A child with a part in the job, or this node's own program."""

    def start(self, run: Run) -> None: ...

    def obey(self, job: int, act: Act, order: Signed) -> None:
        """order: the signed form of `act`, for those below."""

    def stdin(self, job: int, block: InputBlock) -> None: ...

    def credit(self, job: int, stream: int, size: int) -> None: ...

    def release(self, job: int) -> None: ...


class RelayedJob:
    """A job in this process.  `unfinished` maps each rank that has not ended to the downstream that runs or relays it.

    request: what `ticket` holds.
    """

    def __init__(self, job: int, ticket: Signed, request: Request, upstream: Upstream) -> None:
        self.job = job
        self.ticket = ticket
        self.request = request
        self.upstream = upstream
        self.unfinished: dict[int, Downstream] = {}
        self._downstreams: list[Downstream] = []
        self._outlets: dict[int, Outlet[Downstream]] = {}
        self._inlet: Inlet[Downstream] | None = None
        self._queued: dict[int, int] = {}
        self._held: dict[int, Finished] = {}

    def start(
        self, run: Run, parts: Mapping[Downstream, Branch], absent: Iterable[Branch],
        sources_by_child: Mapping[Downstream, tuple[Peer | None, ...]],
    ) -> None:  # fmt: skip
        """Send each downstream its part of `run`.

        absent: parts whose node is no longer connected; their ranks are lost.  sources_by_child: the peers that send
        the bundle to each child, if it is broadcast.
        """
        window_bytes = window_for(len(parts), run.window_bytes)
        for stream in (frames.STDOUT, frames.STDERR):
            self._outlets[stream] = Outlet(
                run.window_bytes,
                window_bytes,
                lambda frame: self.upstream.write(frame),
                lambda source, size, stream=stream: source.credit(self.job, stream, size),  # type: ignore[misc]
            )
        self._downstreams = list(parts)
        if self.request.stdin:
            self._inlet = Inlet(
                window_bytes,
                run.window_bytes,
                self._downstreams,
                lambda reader, block: reader.stdin(self.job, block),
                lambda size: self.upstream.send(Credit(self.job, frames.STDIN, size)),
            )
        for downstream, branch in parts.items():
            for rank in branch.ranks():
                self.unfinished[rank] = downstream
        for downstream, branch in parts.items():
            part = Run(run.job, run.size, run.ticket, branch, window_bytes, sources_by_child.get(downstream, ()))
            downstream.start(part)
        for branch in absent:
            for rank in branch.ranks():
                self.upstream.send(Finished(self.job, rank, Lost("not connected any more")))

    def gives(self, bundle: bytes, downstream: Downstream) -> bool:
        """Whether the job has this bundle, and the downstream a part in the job."""
        own = self.request.bundle
        return own is not None and own.digest == bundle and downstream in self._downstreams

    def obey(self, act: Act, order: Signed) -> None:
        for downstream in self._downstreams:
            downstream.obey(self.job, act, order)

    def stdin(self, block: InputBlock) -> None:
        """Raises: PeerError if the upstream has no credit for the data."""
        if self._inlet is not None:
            self._inlet.push(block)

    def credit_from_upstream(self, stream: int, size: int) -> None:
        outlet = self._outlets.get(stream)
        if outlet is None:
            return
        for rank in outlet.credit(size):
            self._queued[rank] -= 1
            self._send_finished(rank)

    def credit_from_downstream(self, downstream: Downstream, size: int) -> None:
        if self._inlet is not None:
            self._inlet.credit(downstream, size)

    def output(self, downstream: Downstream, rank: int, stream: int, data: bytes | memoryview) -> None:
        """Take output of one rank.  It is dropped if the rank is not one of `downstream`.

        Raises: PeerError if `downstream` has no credit for it.
        """
        outlet = self._outlets.get(stream)
        if outlet is None or not data or self.unfinished.get(rank) is not downstream:
            return
        if not outlet.push(rank, frames.stdio_frame(self.job, rank, stream, data), len(data), downstream):
            self._queued[rank] = self._queued.get(rank, 0) + 1

    def finished(self, downstream: Downstream, rank: int, outcome: Outcome) -> None:
        """A rank ended.  This is sent upstream after all of the rank's output."""
        if self.unfinished.get(rank) is not downstream:
            return
        del self.unfinished[rank]
        self._held[rank] = Finished(self.job, rank, outcome)
        self._send_finished(rank)

    def stage_progress(self, downstream: Downstream, rank: int, received_bytes: int, complete: bool) -> None:
        """Pass on how much of the bundle a rank's node has."""
        if self.unfinished.get(rank) is downstream:
            self.upstream.send(StageProgress(self.job, rank, received_bytes, complete))

    def left(self, downstream: Downstream, reason: str) -> None:
        """A downstream is gone: its unfinished ranks are lost, and the others no longer wait for it."""
        if downstream not in self._downstreams:
            return
        self._downstreams.remove(downstream)
        for outlet in self._outlets.values():
            outlet.forget(downstream)
        if self._inlet is not None:
            self._inlet.forget(downstream)
        for rank in [rank for rank, runs_at in self.unfinished.items() if runs_at is downstream]:
            self.finished(downstream, rank, Lost(reason))

    def release(self) -> None:
        for downstream in self._downstreams:
            downstream.release(self.job)

    def _send_finished(self, rank: int) -> None:
        """Send a held `Finished` if none of the rank's output is queued."""
        if not self._queued.get(rank) and rank in self._held:
            self.upstream.send(self._held.pop(rank))
