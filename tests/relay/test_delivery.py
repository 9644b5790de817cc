"""Output that is kept at a node and taken at the master: whole, in order and once, over any losses between them."""

from __future__ import annotations

from blake3 import blake3
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gproc.relay.delivery import ACKNOWLEDGED_BYTES, KEPT_BYTES, KeptOutput, ReceivedOutput
from gproc.wire.credit import MIN_WINDOW_BYTES
from gproc.wire.frames import STDERR, STDOUT

WINDOW_BYTES = MIN_WINDOW_BYTES


class DeliveryMachine(RuleBasedStateMachine):
    """One stream over a way that keeps order, and may lose everything on it at any time: then there is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.got = b""
        self.kept = KeptOutput(WINDOW_BYTES)
        self.received = ReceivedOutput()
        self.room = KEPT_BYTES
        self.on_the_way: list[tuple[int, bytes]] = []

    @rule(size=st.integers(1, 3 * WINDOW_BYTES), byte=st.integers(0, 255))
    def say(self, size: int, byte: int) -> None:
        data = bytes([byte]) * min(size, self.room)
        self.room -= len(data)
        self.said += data
        self.kept.add(data)
        self.on_the_way += self.kept.take()

    @rule(count=st.integers(1, 20))
    def arrive(self, count: int) -> None:
        arriving, self.on_the_way = self.on_the_way[:count], self.on_the_way[count:]
        for offset, data in arriving:
            dropped = self.received.take_bytes(0, STDOUT, offset, len(data))
            self.got += data[dropped:]
            self.kept.grant(len(data))
            if upto := self.received.to_acknowledge(0, STDOUT):
                self.room += self.kept.acknowledge(upto)
        self.on_the_way += self.kept.take()

    @rule(keeps=st.booleans())
    def change_the_way(self, keeps: bool) -> None:
        """keeps: the hops next to the node are the same, so what is on them arrives yet, after a gap."""
        lost = sum(len(data) for _, data in self.on_the_way)
        if not keeps:
            self.on_the_way = []
            self.kept.grant(lost)
        elif self.on_the_way:
            self.kept.grant(len(self.on_the_way.pop(0)[1]))
        self.kept.rewind(self.received.have(0, STDOUT))
        self.room += self.kept.acknowledge(self.received.acknowledge(0, STDOUT))
        self.on_the_way += self.kept.take()

    @invariant()
    def what_has_come_is_the_beginning_of_what_was_said(self) -> None:
        assert self.said.startswith(self.got)
        assert 0 <= self.room <= KEPT_BYTES
        assert len(self.said) - len(self.got) <= KEPT_BYTES

    def teardown(self) -> None:
        """However it went, all of it comes in the end."""
        self.change_the_way(keeps=True)
        while self.on_the_way:
            self.arrive(1000)
        assert self.got == self.said
        assert self.kept.all_sent
        assert self.received.have(0, STDOUT) == len(self.said)
        assert self.kept.digest == blake3(self.said).digest()


def test_output_arrives_whole_in_order_and_once_under_any_order_of_events() -> None:
    run_state_machine_as_test(DeliveryMachine)


def test_nothing_is_taken_of_a_rank_after_its_end() -> None:
    received = ReceivedOutput()
    assert received.take_bytes(3, STDERR, 0, 5) == 0
    received.finish(3)
    assert received.take_bytes(3, STDERR, 5, 10) == 10


def test_a_new_way_frees_nothing_by_itself() -> None:
    """The relay that sends the job again says how much the master has.  It need not be the master itself."""
    kept = KeptOutput(WINDOW_BYTES)
    kept.add(b"x" * 100)
    list(kept.take())
    kept.rewind(100)
    assert list(kept.take()) == []
    kept.rewind(0)
    assert list(kept.take()) == [(0, b"x" * 100)]


def test_a_short_output_is_not_acknowledged_and_a_long_one_in_large_steps() -> None:
    received = ReceivedOutput()
    received.take_bytes(0, STDOUT, 0, ACKNOWLEDGED_BYTES - 1)
    assert received.to_acknowledge(0, STDOUT) == 0
    received.take_bytes(0, STDOUT, ACKNOWLEDGED_BYTES - 1, 1)
    assert received.to_acknowledge(0, STDOUT) == ACKNOWLEDGED_BYTES
    assert received.to_acknowledge(0, STDOUT) == 0
