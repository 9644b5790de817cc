"""What the master has of one job: its output, and how each rank ended, by the signed word of the node that ran it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from gproc.relay.delivery import ReceivedOutput, StreamDigest, streams_of
from gproc.request.outcome import Lost, Outcome, Refused
from gproc.request.spec import Request
from gproc.shown import shown_text
from gproc.trust.orders import JobSigner
from gproc.trust.outcomes import SignedEnd, check_gone, read_end
from gproc.trust.signing import Forged, TicketRefused
from gproc.wire.credit import MAX_WINDOW_BYTES
from gproc.wire.endings import Acknowledged, OutputGone, RankEnded
from gproc.wire.messages import Finished

log = logging.getLogger("gproc")

NOT_SIGNED: Final = "how its program ended is not signed by this node: a node between it and the master has changed it"
FOR_ANOTHER: Final = (
    "what this node has signed of a program's end is of another job or another rank: a node between it and the master "
    "has exchanged it"
)
GONE_NOT_SIGNED: Final = (
    "that part of its output is gone is not signed by this node: a node between it and the master has made that up"
)
OUTPUT_CHANGED: Final = "its output is not what this node has signed: a node between it and the master has changed it"


class WayRefusal(NamedTuple):
    """A node on the way to a rank did not take its job.  times: so often in turn."""

    reason: str
    times: int


class RunOfNode(NamedTuple):
    """The run of a slave that has a rank.  key: with which it signs: `gproc.trust.outcomes`."""

    nonce: bytes
    key: bytes


class JobReceipt(ReceivedOutput):
    """runs: by rank; None: its node is gone.  forged: for each rank whose end or output was changed on the way, how."""

    def __init__(
        self, job: int, request: Request, signer: JobSigner, runs: Sequence[RunOfNode | None],
        window_bytes: int = MAX_WINDOW_BYTES,
    ) -> None:  # fmt: skip
        super().__init__(window_bytes)
        self._streams = streams_of(request)
        self.forged: dict[int, str] = {}
        self.not_there: set[int] = set()
        """The ranks that the job did not get to, as their own nodes have said."""
        self.speak_for_themselves: set[int] = set()
        """The ranks whose nodes were this master's children when it sent them the job."""
        self.sent_again: set[int] = set()
        """The ranks that were sent the job before: they may have it although the present way does not take it."""
        self._not_taken: dict[int, str] = {}
        """The ranks whose way has refused the job since the last look, and why."""
        self._tries: dict[int, int] = {}
        self._told = False
        """Whether the log already says that a node on the way makes up gaps in its output."""
        self._job = job
        self._signer = signer
        self._runs = runs
        self._digests: dict[tuple[int, int], StreamDigest] = {}
        self._unchecked: set[tuple[int, int]] = set()
        """Streams of which part is not here any more."""
        self.continued = False
        """Whether a former master had this job."""

    def go_on(self, rank: int, stream: int, offset: int, digest: StreamDigest | None) -> None:
        """A former master has had so much of this stream.  digest: of that; None: it is not all there any more."""
        self.began_at(rank, stream, offset)
        if digest is None:
            self._unchecked.add((rank, stream))
        else:
            self._digests[rank, stream] = digest

    def skip(self, gone: OutputGone) -> bool:
        rank, stream = gone.rank, gone.stream
        run = self._runs[rank] if rank < len(self._runs) else None
        if run is None or not self.continued or self.is_finished(rank) or gone.bytes <= self.have(rank, stream):
            return False
        try:
            check_gone(gone, self._signer.session, run.key)
        except Forged:
            if not self._told:
                self._told = True
                log.warning("job %d: rank %d: %s", self._job, rank, GONE_NOT_SIGNED)
            return False
        self.go_on(rank, stream, gone.bytes, None)
        return True

    # `relay.relayed_job.Receipt`

    def take(self, rank: int, stream: int, offset: int, data: bytes | memoryview) -> int:
        dropped = self.take_bytes(rank, stream, offset, len(data))
        if dropped < len(data):
            self._digests.setdefault((rank, stream), StreamDigest()).add(data[dropped:])
        return dropped

    def acknowledgement(self, rank: int, stream: int, *, again: bool = False) -> Acknowledged | None:
        offset = self.acknowledge(rank, stream) if again else self.to_acknowledge(rank, stream)
        run = self._runs[rank] if offset else None
        return None if run is None else self._signer.acknowledgement(rank, run.nonce, stream, offset)

    def end(self, ended: RankEnded) -> Finished | None:
        rank = ended.rank
        if self.is_finished(rank) or not 0 <= rank < len(self._runs):
            return None
        if ended.signed is None:
            return self._was_not_taken(rank, ended.reason)
        if (run := self._runs[rank]) is None:
            return None
        try:
            end = read_end(ended.signed, run.key)
        except Forged:
            return self._lost(rank, NOT_SIGNED)
        except TicketRefused as error:
            return self._lost(rank, str(error))
        if (end.session, end.job, end.rank, end.size) != (self._signer.session, self._job, rank, len(self._runs)):
            return self._lost(rank, FOR_ANOTHER)
        return self._compared(end)

    def _was_not_taken(self, rank: int, reason: str) -> Finished | None:
        """A node on the way, or the rank's own, did not take a Run.

        Any node on the way can say so and still pass the job on, and the rank's node may have taken the job before, or
        take it later.  So this ends nothing, unless the node itself says it on its own connection, about a job that it
        was not sent before.
        """
        why = f"the job did not get there: {shown_text(reason)}"
        if rank in self.speak_for_themselves and rank not in self.sent_again:
            self.not_there.add(rank)
            return self._ended(rank, Lost(why))
        self._not_taken[rank] = why
        return None

    def refusal(self, rank: int) -> WayRefusal | None:
        """The refusal that came by the way of a rank since the last call; None: the job was not refused meanwhile."""
        if rank not in self._not_taken:
            self._tries.pop(rank, None)
            return None
        self._tries[rank] = times = self._tries.get(rank, 0) + 1
        return WayRefusal(self._not_taken.pop(rank), times)

    def _compared(self, end: SignedEnd) -> Finished | None:
        """The end that a node has signed, if the master has the output that belongs to it."""
        rank = end.rank
        have = self.said(rank)
        if has_nothing(end.outcome, end.said):
            return self._ended(rank, end.outcome)
        if len(have) != len(end.said) or any(here > there for here, there in zip(have, end.said, strict=True)):
            return self._lost(rank, OUTPUT_CHANGED)
        if have != end.said:
            return None  # the rest is to come
        if len(end.digests) != len(self._streams):
            return self._lost(rank, OUTPUT_CHANGED)
        signed = {(rank, stream): digest for stream, digest in zip(self._streams, end.digests, strict=True)}
        if any(self._digest(*each) != digest for each, digest in signed.items() if each not in self._unchecked):
            return self._lost(rank, OUTPUT_CHANGED)
        return self._ended(rank, end.outcome, end.said, leaves_files=end.leaves_files)

    def finish(self, rank: int) -> None:
        super().finish(rank)
        self._not_taken.pop(rank, None)
        for stream in self._streams:
            self._digests.pop((rank, stream), None)

    def said(self, rank: int) -> tuple[int, ...]:
        """How much of each output stream of a rank is here."""
        return tuple(self.have(rank, stream) for stream in self._streams)

    def _digest(self, rank: int, stream: int) -> bytes:
        return self._digests.get((rank, stream), _NOTHING).value()

    def _lost(self, rank: int, reason: str) -> Finished:
        self.forged[rank] = reason
        return self._ended(rank, Lost(reason))

    def _ended(
        self, rank: int, outcome: Outcome, said: tuple[int, ...] = (0, 0), *, leaves_files: bool = False
    ) -> Finished:
        self.finish(rank)
        return Finished(self._job, rank, outcome, said, leaves_files)


def has_nothing(outcome: Outcome, said: tuple[int, ...]) -> bool:
    """Whether this comes from a node that does not have the job, or does not have it any more."""
    return isinstance(outcome, Refused) and not any(said)


_NOTHING = StreamDigest()
