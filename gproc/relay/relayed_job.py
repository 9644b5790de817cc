"""Relays one job in one process: from upstream to the downstreams that have a part in it, and back.  Pure.

No I/O: callers report what arrived, and callbacks send.  The way to a node may change while its job runs: then the same
Run comes again on the new way (`resume`), and `gproc.relay.delivery` says what is sent once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from gproc.relay.common import CommonOutput, Item, Later, LostOutput, SaidOutput
from gproc.relay.delivery import streams_of
from gproc.relay.flow import Inlet, Outlet
from gproc.relay.merging import KeptForLink, SentOutput, bytes_for_link
from gproc.relay.neighbours import Downstream, Nowhere, Receipt, Upstream
from gproc.request.acts import Act
from gproc.request.spec import Request
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.credit import window_for
from gproc.wire.endings import Acknowledged, OutputGone, RankEnded, Release
from gproc.wire.frames import InputBlock
from gproc.wire.merging import AnnounceOutput, AnswerOutput, BringOutput, SameOutput
from gproc.wire.messages import Credit, Finished, Peer, Run, Signed, StageProgress
from gproc.wire.offer import MergeOffer
from gproc.wire.stacks import StacksShown


class RelayedJob:
    """A job in this process.

    request: what `ticket` holds.  receipt: at the master, what has come; None: this node passes it on.
    kept_input_bytes: at the master, how much standard input is kept for nodes that may need it again.
    spare_input_bytes: how much more the others get while a node cannot be reached.
    """

    def __init__(
        self, job: int, ticket: Signed, request: Request, upstream: Upstream, receipt: Receipt | None = None,
        kept_input_bytes: int = 0, spare_input_bytes: int = 0,
    ) -> None:  # fmt: skip
        self.job = job
        self.ticket = ticket
        self.request = request
        self.upstream = upstream
        self.kept_input_bytes = kept_input_bytes
        self.spare_input_bytes = spare_input_bytes
        self._receipt = receipt
        self._window_bytes = 0
        self._downstream_of: dict[int, Downstream] = {}
        self._downstreams: dict[Downstream, None] = {}
        self._outlets: dict[int, Outlet[Downstream]] = {}
        self._inlet: Inlet[Downstream] | None = None
        self._queued: dict[int, int] = {}
        self._held: dict[int, RankEnded | Finished] = {}
        self._sent: SentOutput | None = None
        """What the parent keeps of what was sent; None: it keeps nothing."""
        self._kept: dict[Downstream, KeptForLink] = {}
        self._common: CommonOutput[Downstream] | None = None
        self._later: Later | None = None

    def start(
        self, run: Run, parts: Mapping[Downstream, Branch],
        sources_by_child: Mapping[Downstream, tuple[Peer | None, ...]], later: Later | None = None,
    ) -> None:  # fmt: skip
        """Send each downstream its part of `run`.

        sources_by_child: the peers that send the bundle to each child, if it is broadcast.  later: loop.call_later.
        """
        self._later = later
        self._take_offer(run.merge)
        self._window_bytes = window_bytes = window_for(len(parts), run.window_bytes)
        for stream in streams_of(self.request):
            self._outlets[stream] = Outlet(
                run.window_bytes, window_bytes, self._write,
                lambda source, size, stream=stream: source.credit(self.job, stream, size),  # type: ignore[misc]
            )  # fmt: skip
        if self.request.stdin:
            self._inlet = Inlet(
                window_bytes, run.window_bytes, list(parts),
                lambda reader, block: reader.stdin(self.job, block),
                lambda size: self.upstream.send(Credit(self.job, frames.STDIN, size)),
                self.kept_input_bytes, self.spare_input_bytes,
            )  # fmt: skip
        self._assign(run, parts, sources_by_child)

    @property
    def has_room(self) -> bool:
        """Whether output, and the ends behind it, would be passed on at once."""
        return all(outlet.has_room for outlet in self._outlets.values())

    @property
    def is_stranded(self) -> bool:
        """Whether no way leads through here any more: no upstream sends the job, or no downstream has a part in it."""
        return isinstance(self.upstream, Nowhere) or not self._downstreams

    def gives(self, bundle: bytes, downstream: Downstream) -> bool:
        """Whether the job has this bundle, and the downstream a part in the job."""
        return self.request.is_of(bundle) and downstream in self._downstreams

    def stop(self) -> None:
        """The upstream is gone: wait for `resume`."""
        self.upstream = Nowhere()
        for outlet in self._outlets.values():
            outlet.stop()

    def resume(self, run: Run, parts: Mapping[Downstream, Branch], upstream: Upstream) -> None:
        """The same job comes again, on a new way, for some of its ranks or all of them."""
        dropped: list[tuple[Outlet[Downstream], Downstream, int]] = []
        if upstream is not self.upstream:
            self.upstream, self._sent = upstream, None
            for outlet in self._outlets.values():
                dropped += [(outlet, source, size) for source, size in outlet.resume(run.window_bytes)]
            self._queued.clear()
            self._held.clear()
            if self._inlet is not None:
                self._inlet.resume(run.window_bytes)
        self._take_offer(run.merge)
        if self._inlet is not None:
            for downstream in parts:
                self._inlet.add(downstream)
        self._assign(run, parts, {})
        for outlet, source, size in dropped:
            outlet.pay(source, size)  # not before: this node's own program would send what comes after a gap
        if self._inlet is not None:
            for downstream in parts:
                self._inlet.repeat(downstream)
        for downstream, branch in parts.items():
            for rank in branch.ranks():
                self._acknowledge(downstream, rank)

    def _acknowledge(self, downstream: Downstream, rank: int) -> None:
        """Tell a node on a new way what the master has: the last word of it may have been lost."""
        if self._receipt is not None:
            for stream in streams_of(self.request):
                if (taken := self._receipt.acknowledgement(rank, stream, again=True)) is not None:
                    downstream.acknowledge(taken)

    def _assign(
        self, run: Run, parts: Mapping[Downstream, Branch],
        sources_by_child: Mapping[Downstream, tuple[Peer | None, ...]],
    ) -> None:  # fmt: skip
        for downstream, branch in parts.items():
            self._downstreams[downstream] = None
            self._downstream_of |= dict.fromkeys(branch.ranks(), downstream)
        relaying = [each for each, branch in parts.items() if branch.children and each not in self._kept]
        if self._common is None and len(self._kept) + len(relaying) > 1:
            self._common = CommonOutput(self.job, lambda child, said: child.answer(said), self._take, self._later)
        offers_bytes = bytes_for_link(len(relaying), sum(kept.offer.bytes for kept in self._kept.values()))
        announce = self._common is not None
        if offers_bytes or announce:
            self._kept |= {downstream: KeptForLink(offers_bytes, announce=announce) for downstream in relaying}
        for downstream, branch in parts.items():
            sources = sources_by_child.get(downstream, ())
            offer = self._kept[downstream].offer if downstream in self._kept else None
            downstream.start(replace(run, branch=branch, window_bytes=self._window_bytes, sources=sources, merge=offer))
            if self._common is not None:
                self._common.ask_again(downstream)

    def _take_offer(self, offer: MergeOffer | None) -> None:
        if offer is not None and (self._sent is None or self._sent.epoch != offer.epoch):
            self._sent = SentOutput(self.job, offer)

    def _write(self, frame: bytes) -> None:
        if self._sent is None:
            self.upstream.write(frame)
            return
        for said in self._sent.frames_of(frame):
            if isinstance(said, bytes):
                self.upstream.write(said)
            else:
                self.upstream.send(said)

    def obey(self, act: Act | None, order: Signed) -> None:
        for downstream in self._downstreams:
            downstream.obey(self.job, act, order)

    def stdin(self, block: InputBlock) -> None:
        """Raises: PeerError if the upstream has no credit for the data."""
        if self._inlet is not None:
            self._inlet.push(block)

    def input_blocks(self) -> list[InputBlock]:
        """At the master: what is kept of the standard input, and what waits."""
        return [] if self._inlet is None else self._inlet.blocks()

    def restore_input(self, blocks: Iterable[InputBlock]) -> None:
        """At a master that comes back: its nodes may lack these."""
        if self._inlet is not None:
            self._inlet.restore(blocks)

    def sign_input_again(self, sign: Callable[[InputBlock], InputBlock]) -> None:
        """At the master: the cluster's keys are others."""
        if self._inlet is not None:
            self._inlet.replace_blocks(sign)

    def hold_input(self, held: bool) -> None:
        """held: a node below cannot be reached now."""
        if self._inlet is not None:
            self._inlet.hold(held)

    def credit_from_upstream(self, stream: int, size: int) -> None:
        if (outlet := self._outlets.get(stream)) is not None:
            self._sent_on(outlet.credit(size))

    def _sent_on(self, ranks: Iterable[int]) -> None:
        for rank in ranks:
            self._queued[rank] -= 1
            self._send_finished(rank)

    def credit_from_downstream(self, downstream: Downstream, size: int) -> None:
        if self._inlet is not None:
            self._inlet.credit(downstream, size)

    def output(self, downstream: Downstream, rank: int, stream: int, offset: int, data: bytes | memoryview) -> None:
        """Take output of one rank.  It is dropped if the rank is not one of `downstream`.

        Raises: PeerError if `downstream` has no credit for it.
        """
        if not data or not self._accept(downstream, rank, stream, len(data)):
            return
        kept = self._kept.get(downstream)
        if self._common is not None and kept is not None:
            self._common.note(stream, offset, data)
            if self._common.holds_back(downstream):
                self._common.wait(downstream, SaidOutput(rank, stream, offset, bytes(data)))
                return
        if kept is not None:
            kept.note(rank, stream, offset, data)
        self._pass_on(downstream, rank, stream, offset, data)

    def announced(self, downstream: Downstream, said: AnnounceOutput) -> None:
        """Take the place of output that is to come, or is here already.  Raises: PeerError as `output`."""
        if not self._accept(downstream, said.rank, said.stream, said.size):
            return
        kept = self._kept.get(downstream)
        if self._common is None or kept is None or kept.offer.epoch != said.epoch:
            self._outlets[said.stream].pay(downstream, said.size)  # as of `same_output`
            return
        self._common.announced(downstream, said)

    def brought(self, downstream: Downstream, said: BringOutput) -> None:
        """Take output that was asked for.  Raises: PeerError if it was not."""
        if self._common is not None:
            self._common.brought(downstream, said)

    def heard(self, message: Credit | Acknowledged | AnswerOutput) -> None:
        """The parent says this of the output."""
        match message:
            case Credit(_, stream, size) if stream in self._outlets:
                self._sent_on(self._outlets[stream].granted(size))
            case Acknowledged():
                self.acknowledge(message)
            case AnswerOutput():
                announcer = None if self._sent is None else self._sent.announcer
                if announcer is None:
                    self.upstream.send(BringOutput(self.job, message.serial, b""))
                elif (said := announcer.answered(message)) is not None:
                    self.upstream.send(said)

    def _accept(self, downstream: Downstream, rank: int, stream: int, size: int) -> bool:
        """Count so many bytes.  Returns whether it has a part in the job.  Raises: PeerError if it has no credit."""
        outlet = self._outlets.get(stream)
        if outlet is None or (self._downstream_of.get(rank) is not downstream and downstream not in self._downstreams):
            return False
        outlet.accept(size, downstream)
        return True

    def _in_order(self, downstream: Downstream, item: Item) -> None:
        """Take it when all is here that was announced before it."""
        if self._common is not None and self._common.holds_back(downstream):
            self._common.wait(downstream, item)
        else:
            self._take(downstream, item)

    def _take(self, downstream: Downstream, item: Item) -> None:
        """Raises: PeerError for a reference to nothing."""
        match item:
            case SaidOutput(rank, stream, offset, data):
                if (kept := self._kept.get(downstream)) is not None:
                    kept.note(rank, stream, offset, data)
                self._pass_on(downstream, rank, stream, offset, data)
            case LostOutput(rank, stream, offset, size):
                self._kept[downstream].lose(rank, stream, offset, size)
                self._outlets[stream].pay(downstream, size)
            case SameOutput(_, rank, stream, offset, size):
                if (same := self._kept[downstream].bytes_of(item)) is None:
                    self._outlets[stream].pay(downstream, size)  # this output is lost too: its node sends it again
                else:
                    self._pass_on(downstream, rank, stream, offset, same)
            case OutputGone():
                self._gone(downstream, item)
            case RankEnded():
                self._finished(downstream, item)

    def same_output(self, downstream: Downstream, same: SameOutput) -> None:
        """Take output that came as a reference.  Raises: PeerError as `output`, or if it refers to nothing."""
        if not self._accept(downstream, same.rank, same.stream, same.size):
            return
        kept = self._kept.get(downstream)
        if kept is None or kept.offer.epoch != same.epoch:
            # It was sent before the present Run, after which its node sends everything again that is not here.
            self._outlets[same.stream].pay(downstream, same.size)
        else:
            self._in_order(downstream, same)

    def _pass_on(self, downstream: Downstream, rank: int, stream: int, offset: int, data: bytes | memoryview) -> None:
        outlet = self._outlets[stream]
        if self._downstream_of.get(rank) is not downstream:
            outlet.pay(downstream, len(data))  # another way leads to this rank now
            return
        if self._receipt is not None:
            if dropped := self._receipt.take(rank, stream, offset, data):
                outlet.pay(downstream, dropped)
                data, offset = data[dropped:], offset + dropped
            if (taken := self._receipt.acknowledgement(rank, stream)) is not None:
                downstream.acknowledge(taken)
        for begin in range(0, len(data), outlet.frame_bytes):
            part = data[begin : begin + outlet.frame_bytes]
            frame = frames.stdio_frame(self.job, rank, stream, offset + begin, part)
            if not outlet.push(rank, frame, len(part), downstream):
                self._queued[rank] = self._queued.get(rank, 0) + 1

    def acknowledge(self, taken: Acknowledged) -> None:
        if (downstream := self._downstream_of.get(taken.rank)) is not None:
            downstream.acknowledge(taken)

    def finished(self, downstream: Downstream, ended: RankEnded) -> None:
        """A rank ended.  This is sent upstream after all of the rank's output.

        The master takes it only if it has all of that output: if not, a way has changed, and both come once more.
        """
        self._in_order(downstream, ended)

    def _finished(self, downstream: Downstream, ended: RankEnded) -> None:
        rank = ended.rank
        if self._downstream_of.get(rank) is not downstream:
            return
        said = ended if self._receipt is None else self._receipt.end(ended)
        if said is not None:
            self._held[rank] = said
            self._send_finished(rank)

    def lose(self, lost: Finished) -> None:
        """At the master: nothing more comes from a rank.  What has come goes first, as before any end."""
        if self._receipt is not None and not self._receipt.is_finished(lost.rank):
            self._receipt.finish(lost.rank)
            self._held[lost.rank] = lost
            self._send_finished(lost.rank)

    def output_gone(self, downstream: Downstream, gone: OutputGone) -> None:
        """A node does not have output any more that it was asked for.  What it has comes behind this."""
        self._in_order(downstream, gone)

    def _gone(self, downstream: Downstream, gone: OutputGone) -> None:
        if self._downstream_of.get(gone.rank) is not downstream:
            return
        # At the master nothing of this stream waits here: what it lacks came to the one before.
        if self._receipt is None or self._receipt.skip(gone):
            self.upstream.send(gone)

    def stage_progress(self, downstream: Downstream, rank: int, received_bytes: int, complete: bool) -> None:
        """Pass on how much of the bundle a rank's node has."""
        if self._downstream_of.get(rank) is downstream:
            self.upstream.send(StageProgress(self.job, rank, received_bytes, complete))

    def show_stacks(self, downstream: Downstream, shown: StacksShown) -> None:
        """Pass on where the processes of this node's own rank are."""
        if downstream in self._downstreams:
            self.upstream.send(shown)

    def ranks_of(self, downstream: Downstream) -> list[int]:
        """The ranks that are reached by it, sorted."""
        return sorted(rank for rank, each in self._downstream_of.items() if each is downstream)

    def reaches(self, rank: int) -> bool:
        """Whether it was sent to a rank on a way that is there."""
        return self._downstream_of.get(rank) in self._downstreams

    def left(self, downstream: Downstream) -> None:
        """A downstream is gone.  The others no longer wait for it; its ranks may come back on another way."""
        if downstream not in self._downstreams:
            return
        del self._downstreams[downstream]
        self._kept.pop(downstream, None)
        for outlet in self._outlets.values():
            outlet.forget(downstream)
        if self._common is not None:
            self._common.left(downstream)
        if self._inlet is not None:
            self._inlet.forget(downstream)

    def release(self, word: Release) -> None:
        for downstream in self._downstreams:
            downstream.release(word)

    def _send_finished(self, rank: int) -> None:
        """Send a held `Finished` if none of the rank's output is queued."""
        if not self._queued.get(rank) and rank in self._held:
            self.upstream.send(self._held.pop(rank))
