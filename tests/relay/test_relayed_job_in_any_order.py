"""A relayed job keeps all output and outcomes, in any order of its events."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gproc.request.outcome import Lost, Outcome, Returned
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.credit import window_for
from gproc.wire.endings import RankEnded
from tests.relay.job_on_links import WINDOW_BYTES, Member, begin, ended


class RelayedJobMachine(RuleBasedStateMachine):
    """Three members with two ranks each; output, credit, outcomes and losses in any order."""

    @initialize(window=st.sampled_from([window_for(3, WINDOW_BYTES), WINDOW_BYTES]))
    def begin(self, window: int) -> None:
        self.window = window
        self.members = [Member() for _ in range(3)]
        parts = {
            member: Branch(2 * number, {1: Branch(2 * number + 1, {})}) for number, member in enumerate(self.members)
        }
        self.relayed, self.upstream = begin(parts, window_bytes=window)
        self.sent: dict[tuple[int, int], bytes] = {}
        self.sent_by = dict.fromkeys(((n, s) for n in range(3) for s in (frames.STDOUT, frames.STDERR)), 0)
        self.acknowledged = dict.fromkeys((frames.STDOUT, frames.STDERR), 0)
        self.ended: dict[int, Outcome] = {}
        self.left: set[int] = set()

    @rule(
        rank=st.integers(0, 5), stream=st.sampled_from([frames.STDOUT, frames.STDERR]),
        size=st.integers(1, frames.MAX_STDIO_BYTES), byte=st.integers(0, 255),
    )  # fmt: skip
    def output(self, rank: int, stream: int, size: int, byte: int) -> None:
        number = rank // 2
        member = self.members[number]
        size = min(size, window_for(3, WINDOW_BYTES) + member.granted[stream] - self.sent_by[number, stream])
        if rank in self.ended or not size:
            return
        data = bytes([byte]) * size
        self.sent_by[number, stream] += size
        self.sent[rank, stream] = self.sent.get((rank, stream), b"") + data
        self.relayed.output(member, rank, stream, 0, data)

    @rule(rank=st.integers(0, 5), status=st.integers(0, 255))
    def finish(self, rank: int, status: int) -> None:
        if rank not in self.ended:
            self.ended[rank] = Returned(status)
            if rank // 2 not in self.left:
                self.relayed.finished(self.members[rank // 2], ended(rank, self.ended[rank]))

    @rule(number=st.integers(0, 2))
    def leave(self, number: int) -> None:
        if number not in self.left:
            self.left.add(number)
            self.relayed.left(self.members[number])
            for rank in (2 * number, 2 * number + 1):
                self.ended.setdefault(rank, Lost("by the master's word"))

    @rule(stream=st.sampled_from([frames.STDOUT, frames.STDERR]), data=st.data())
    def credit(self, stream: int, data: st.DataObject) -> None:
        if in_flight := self.in_flight(stream):
            self.acknowledge(stream, data.draw(st.integers(1, in_flight)))

    def acknowledge(self, stream: int, size: int) -> None:
        self.acknowledged[stream] += size
        self.relayed.credit_from_upstream(stream, size)

    def in_flight(self, stream: int) -> int:
        emitted = sum(len(data) for _, of, data in self.upstream.outputs if of == stream)
        return emitted - self.acknowledged[stream]

    @invariant()
    def everything_goes_upstream_in_order_and_within_the_window(self) -> None:
        assert all(self.in_flight(stream) <= self.window for stream in self.acknowledged)
        stopped: set[int] = set()
        received: dict[tuple[int, int], bytes] = {}
        for sent in self.upstream.sent:
            if isinstance(sent, tuple):
                rank, stream, data = sent
                assert rank not in stopped, "output after its rank's end"
                received[rank, stream] = received.get((rank, stream), b"") + data
            elif isinstance(sent, RankEnded):
                stopped.add(sent.rank)
                assert all(received.get((sent.rank, of), b"") == self.sent.get((sent.rank, of), b"") for of in (1, 2))
        assert all(self.sent[key].startswith(data) for key, data in received.items())

    def teardown(self) -> None:
        """In any case, a reader that goes on reading gets all output and every outcome."""
        if not hasattr(self, "upstream"):
            return
        while any(self.in_flight(stream) for stream in self.acknowledged):
            for stream in self.acknowledged:
                self.acknowledge(stream, self.in_flight(stream))
        received: dict[tuple[int, int], bytes] = {}
        for rank, stream, data in self.upstream.outputs:
            received[rank, stream] = received.get((rank, stream), b"") + data
        assert received == self.sent
        assert self.upstream.outcomes == {
            rank: outcome for rank, outcome in self.ended.items() if not isinstance(outcome, Lost)
        }


def test_a_relayed_job_keeps_all_output_and_outcomes_under_any_order_of_events() -> None:
    run_state_machine_as_test(RelayedJobMachine)
