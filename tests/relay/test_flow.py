"""Credit windows as state machines: in any order of events, no data is lost, mixed, stuck or beyond its window."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from gproc.errors import PeerError
from gproc.relay.flow import Inlet, Outlet
from gproc.wire.credit import HOP_BYTES, MAX_WINDOW_BYTES, MIN_WINDOW_BYTES, quantum, window_for
from gproc.wire.frames import MAX_STDIO_BYTES, InputBlock

FRAME_BYTES = quantum(MIN_WINDOW_BYTES)
SIZES = st.one_of(st.integers(1, 40), st.integers(1, FRAME_BYTES), st.just(FRAME_BYTES))


@pytest.mark.parametrize("upstream", [MIN_WINDOW_BYTES, MAX_WINDOW_BYTES])
@pytest.mark.parametrize("writers", [0, 1, 2, 19, 64, 1000])
def test_a_window_always_has_room_for_a_whole_frame_beside_the_credit_that_is_due(writers: int, upstream: int) -> None:
    window = window_for(writers, upstream)
    assert MIN_WINDOW_BYTES <= window <= upstream
    assert window - quantum(window) >= quantum(window)
    assert quantum(window) <= min(quantum(upstream), MAX_STDIO_BYTES)
    assert window == MIN_WINDOW_BYTES or window * writers <= max(HOP_BYTES, MAX_WINDOW_BYTES)


def test_a_reader_that_drops_all_that_waits_drops_it_in_order_and_not_each_frame_within_the_last() -> None:
    dropped: list[bytes] = []

    def drop(frame: bytes) -> None:
        dropped.append(frame)
        if frame != b"first":
            assert outlet.credit(1) == []

    outlet: Outlet[int] = Outlet(1, MIN_WINDOW_BYTES, drop, lambda _source, _size: None)
    frames = [b"first", *(b"%d" % number for number in range(5_000))]
    for frame in frames:
        outlet.accept(1, 0)
        outlet.push(0, frame, 1, 0)
    assert dropped == [b"first"]
    assert outlet.credit(1) == [0] * 5_000
    assert dropped == frames


class OutletMachine(RuleBasedStateMachine):
    """Three sources that keep to their windows, and one reader that grants at any time.

    A frame holds its source and its serial number, so that order and loss show; `size_of` has its size.
    """

    @initialize(window=st.sampled_from([MIN_WINDOW_BYTES, MAX_WINDOW_BYTES]))
    def begin(self, window: int) -> None:
        self.window = window
        self.may_send = dict.fromkeys(range(3), MIN_WINDOW_BYTES)
        self.sent: dict[int, list[bytes]] = {source: [] for source in range(3)}
        self.size_of: dict[bytes, int] = {}
        self.waiting: dict[int, int] = dict.fromkeys(range(3), 0)
        self.emitted: list[bytes] = []
        self.unacknowledged = 0
        self.outlet: Outlet[int] = Outlet(window, MIN_WINDOW_BYTES, self.emit, self.grant)

    def emit(self, frame: bytes) -> None:
        self.emitted.append(frame)
        self.unacknowledged += self.size_of[frame]

    def grant(self, source: int, size: int) -> None:
        assert size >= FRAME_BYTES
        self.may_send[source] += size

    @rule(source=st.integers(0, 2), size=SIZES)
    def push(self, source: int, size: int) -> None:
        size = min(size, self.may_send[source])
        if not size:
            return
        frame = f"{source}:{len(self.sent[source])}".encode()
        self.size_of[frame] = size
        self.sent[source].append(frame)
        self.may_send[source] -= size
        self.outlet.accept(size, source)
        if not self.outlet.push(source, frame, size, source):
            self.waiting[source] += 1

    @rule(data=st.data())
    def reader_consumes(self, data: st.DataObject) -> None:
        if self.unacknowledged:
            self.acknowledge(data.draw(st.integers(1, self.unacknowledged)))

    def acknowledge(self, size: int) -> None:
        self.unacknowledged -= size
        for source in self.outlet.credit(size):
            self.waiting[source] -= 1

    @invariant()
    def no_more_than_the_window_is_in_flight(self) -> None:
        assert self.unacknowledged <= self.window

    @invariant()
    def the_frames_of_a_source_go_in_order(self) -> None:
        for source, sent in self.sent.items():
            passed = [frame for frame in self.emitted if frame.startswith(b"%d:" % source)]
            assert passed == sent[: len(passed)]
            assert len(sent) - len(passed) == self.waiting[source]

    @invariant()
    def a_source_keeps_the_credit_that_it_did_not_use(self) -> None:
        for source, sent in self.sent.items():
            assert 0 <= self.may_send[source] <= MIN_WINDOW_BYTES
            passed = sum(self.size_of[frame] for frame in sent) - self.kept_of(source)
            assert self.may_send[source] >= MIN_WINDOW_BYTES - self.kept_of(source) - min(passed, FRAME_BYTES)

    def kept_of(self, source: int) -> int:
        sent = self.sent[source]
        return sum(self.size_of[frame] for frame in sent[len(sent) - self.waiting[source] :])

    def teardown(self) -> None:
        """In any case, a reader that goes on reading gets everything, and each source can go on."""
        if not hasattr(self, "outlet"):
            return
        while self.unacknowledged:
            self.acknowledge(self.unacknowledged)
        assert sorted(self.emitted) == sorted(frame for sent in self.sent.values() for frame in sent)
        assert all(credit >= FRAME_BYTES for credit in self.may_send.values())


def block(data: bytes) -> InputBlock:
    """A relay does not look at the signature."""
    return InputBlock(0, b"signed %d" % len(data), data)


class InletMachine(RuleBasedStateMachine):
    """One writer that keeps to its window, and readers that consume at their own pace and may leave."""

    readers: Bundle[int] = Bundle("readers")

    @initialize(target=readers, count=st.integers(1, 4))
    def begin(self, count: int) -> int:
        self.window = window_for(count, MAX_WINDOW_BYTES)
        self.may_send = self.window
        self.sent = b""
        self.pieces: list[bytes] = []
        self.received: dict[int, list[bytes]] = {reader: [] for reader in range(count)}
        self.consumed = dict.fromkeys(range(count), 0)
        self.gone: set[int] = set()
        self.ended = False
        self.inlet: Inlet[int] = Inlet(self.window, self.window, list(range(count)), self.emit, self.grant)
        return 0

    @rule(target=readers, number=st.integers(1, 3))
    def another_reader(self, number: int) -> int:
        return number

    def emit(self, reader: int, sent: InputBlock) -> None:
        assert reader not in self.gone
        assert sent == block(sent.data), "a block was changed"
        self.received[reader].append(sent.data)

    def grant(self, size: int) -> None:
        assert size >= quantum(self.window)
        self.may_send += size

    @rule(size=SIZES, byte=st.integers(0, 255))
    def push(self, size: int, byte: int) -> None:
        size = min(size, self.may_send)
        if size and not self.ended:
            self.may_send -= size
            for begin in range(0, size, quantum(self.window)):
                self.pieces.append(bytes([byte]) * min(quantum(self.window), size - begin))
                self.inlet.push(block(self.pieces[-1]))

    @rule()
    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.pieces.append(b"")
            self.inlet.push(block(b""))

    @rule(reader=readers, data=st.data())
    def consume(self, reader: int, data: st.DataObject) -> None:
        if reader in self.received and reader not in self.gone and self.in_flight(reader):
            self.take(reader, data.draw(st.integers(1, self.in_flight(reader))))

    def take(self, reader: int, size: int) -> None:
        self.consumed[reader] += size
        self.inlet.credit(reader, size)

    @rule(reader=consumes(readers))
    def leave(self, reader: int) -> None:
        if reader in self.received:
            self.gone.add(reader)
            self.inlet.forget(reader)

    def in_flight(self, reader: int) -> int:
        return sum(map(len, self.received[reader])) - self.consumed[reader]

    @invariant()
    def no_reader_has_more_in_flight_than_its_window(self) -> None:
        assert all(self.in_flight(reader) <= self.window for reader in self.received)

    @invariant()
    def all_readers_get_the_same_in_order(self) -> None:
        here = [received for reader, received in self.received.items() if reader not in self.gone]
        for received in here:
            assert received == here[0]
            assert b"".join(self.pieces).startswith(b"".join(received))

    @invariant()
    def a_writer_that_keeps_to_its_credit_has_no_more_than_a_window_waiting(self) -> None:
        assert 0 <= self.may_send <= self.window

    def teardown(self) -> None:
        """In any case, the remaining readers get everything if they go on reading, and the writer can go on."""
        if not hasattr(self, "inlet"):
            return
        here = [reader for reader in self.received if reader not in self.gone]
        while any(self.in_flight(reader) for reader in here):
            for reader in here:
                if self.in_flight(reader):
                    self.take(reader, self.in_flight(reader))
        assert all(b"".join(self.received[reader]) == b"".join(self.pieces) for reader in here)
        assert all((self.received[reader][-1:] == [b""]) == self.ended for reader in here)
        assert self.may_send >= MAX_STDIO_BYTES


def test_an_outlet_loses_mixes_and_stops_nothing_under_any_order_of_events() -> None:
    run_state_machine_as_test(OutletMachine)


def test_an_inlet_loses_mixes_and_stops_nothing_under_any_order_of_events() -> None:
    run_state_machine_as_test(InletMachine)


def received_by(reader: str, received: list[tuple[str, bytes]]) -> bytes:
    return b"".join(data for receiver, data in received if receiver == reader)


def test_the_slowest_reader_sets_the_pace_and_one_that_leaves_frees_the_rest() -> None:
    received: list[tuple[str, bytes]] = []
    granted: list[int] = []
    inlet = Inlet(10, 100, ["quick", "slow"], lambda reader, sent: received.append((reader, sent.data)), granted.append)
    inlet.push(block(b"0123456789"))
    inlet.push(block(b"more"))
    inlet.credit("quick", 10)
    assert received_by("quick", received) == received_by("slow", received) == b"0123456789"
    inlet.forget("slow")
    assert received_by("quick", received) == b"0123456789more"
    assert received_by("slow", received) == b"0123456789"


def test_standard_input_with_no_reader_left_is_consumed() -> None:
    granted: list[int] = []
    inlet = Inlet(10, FRAME_BYTES, ["only"], lambda reader, sent: None, granted.append)
    inlet.forget("only")
    inlet.push(block(b"x" * FRAME_BYTES))
    assert sum(granted) == FRAME_BYTES


def test_frames_of_a_source_that_left_are_still_passed_on_but_it_is_granted_nothing() -> None:
    emitted: list[bytes] = []
    granted: list[tuple[str, int]] = []
    outlet: Outlet[str] = Outlet(0, FRAME_BYTES, emitted.append, lambda source, size: granted.append((source, size)))
    outlet.accept(FRAME_BYTES, "gone")
    outlet.push(0, b"last frame", FRAME_BYTES, "gone")
    outlet.forget("gone")
    assert outlet.credit(FRAME_BYTES) == [0]
    assert emitted == [b"last frame"]
    assert granted == []


def test_a_source_that_sends_beyond_its_credit_breaks_the_protocol_and_costs_no_memory() -> None:
    outlet: Outlet[str] = Outlet(0, 10, lambda frame: None, lambda source, size: None)
    outlet.accept(10, "greedy")
    outlet.accept(10, "other")
    with pytest.raises(PeerError, match="11 bytes with credit for 10"):
        outlet.accept(1, "greedy")


def test_an_outlet_with_another_reader_drops_what_waited_and_its_sources_may_send_as_much_again() -> None:
    emitted: list[bytes] = []
    granted: list[tuple[str, int]] = []
    outlet: Outlet[str] = Outlet(0, FRAME_BYTES, emitted.append, lambda source, size: granted.append((source, size)))
    outlet.accept(FRAME_BYTES, "source")
    outlet.push(0, b"lost", FRAME_BYTES, "source")
    outlet.stop()
    dropped = outlet.resume(FRAME_BYTES)
    assert (emitted, granted, dropped) == ([], [], [("source", FRAME_BYTES)])
    outlet.pay(*dropped[0])
    assert granted == [("source", FRAME_BYTES)]
    outlet.accept(FRAME_BYTES, "source")
    assert outlet.push(0, b"again", FRAME_BYTES, "source")
    assert emitted == [b"again"]


def test_input_that_is_kept_is_sent_again_to_one_reader_before_all_else() -> None:
    received: list[tuple[str, bytes]] = []
    inlet: Inlet[str] = Inlet(
        100, 100, ["here"], lambda reader, sent: received.append((reader, sent.data)), lambda size: None, kept_bytes=8
    )
    for data in (b"aaaa", b"bbbb", b"cccc"):
        inlet.push(block(data))
    inlet.hold(True)
    inlet.push(block(b"dddd"))
    assert received_by("here", received) == b"aaaabbbbcccc"
    inlet.add("there")
    inlet.repeat("there")
    assert received_by("there", received) == b"bbbbcccc"
    inlet.hold(False)
    assert received_by("here", received) == b"aaaabbbbccccdddd"
    assert received_by("there", received) == b"bbbbccccdddd"


def test_while_a_reader_is_away_the_others_get_as_much_as_is_kept_for_it_beside_the_rest() -> None:
    received: list[tuple[str, bytes]] = []
    inlet: Inlet[str] = Inlet(
        100, 100, ["here"], lambda reader, sent: received.append((reader, sent.data)), lambda size: None,
        kept_bytes=4, spare_bytes=8,
    )  # fmt: skip
    inlet.push(block(b"aaaa"))
    inlet.hold(True)
    for data in (b"bbbb", b"cccc", b"dddd"):
        inlet.push(block(data))
    assert received_by("here", received) == b"aaaabbbbcccc"
    inlet.add("back")
    inlet.repeat("back")
    assert received_by("back", received) == b"aaaabbbbcccc"
    inlet.hold(False)
    assert received_by("back", received) == b"aaaabbbbccccdddd"


def test_another_writer_has_its_own_credit_and_may_repeat_the_end() -> None:
    granted: list[int] = []
    inlet: Inlet[str] = Inlet(4, 4, ["slow"], lambda reader, sent: None, granted.append)
    inlet.push(block(b"aaaa"))
    inlet.push(block(b""))
    inlet.resume(4)
    inlet.push(block(b"aaaa"))
    inlet.push(block(b""))
    inlet.credit("slow", 4)
    assert sum(granted) == 8, "each writer got its credit back"


def test_a_writer_that_sends_beyond_its_credit_breaks_the_protocol() -> None:
    inlet = Inlet(0, 10, ["reader"], lambda reader, sent: None, lambda size: None)
    inlet.push(block(b"0123456789"))
    with pytest.raises(PeerError, match="beyond its credit"):
        inlet.push(block(b"!"))


def test_a_writer_whose_input_has_ended_may_repeat_it_because_a_node_elsewhere_below_lacks_it() -> None:
    """A relay sends what is repeated for one child to all of them.  The others, whose input had ended, gave it up."""
    received: list[bytes] = []
    inlet = Inlet(10, 10, ["reader"], lambda reader, sent: received.append(sent.data), lambda size: None)
    inlet.push(block(b"word"))
    inlet.push(block(b""))
    inlet.push(block(b"word"))
    inlet.push(block(b""))
    assert received == [b"word", b"", b"word", b""]


def test_ends_that_wait_are_one() -> None:
    """They take no credit, so that a parent could fill the memory with them."""
    received: list[bytes] = []
    inlet = Inlet(4, 10, ["reader"], lambda reader, sent: received.append(sent.data), lambda size: None)
    inlet.push(block(b"word"))
    inlet.push(block(b"more"))
    for _ in range(100):
        inlet.push(block(b""))
    inlet.credit("reader", 4)
    assert received == [b"word", b"more", b""]


def test_a_reader_that_grants_credit_at_once_does_not_keep_input_from_the_others() -> None:
    received: list[tuple[str, bytes]] = []

    def emit(reader: str, sent: InputBlock) -> None:
        received.append((reader, sent.data))
        if reader == "eager":
            inlet.credit("eager", len(sent.data))

    inlet: Inlet[str] = Inlet(4, 100, ["eager", "calm"], emit, lambda size: None)
    inlet.push(block(b"one"))
    inlet.push(block(b"two"))
    inlet.credit("calm", 3)
    for reader in ("eager", "calm"):
        assert received_by(reader, received) == b"onetwo"
