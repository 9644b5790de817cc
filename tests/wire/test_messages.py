"""Messages through their bytes and back; and no bytes at all that are anything but a message or the peer's fault."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import PeerError
from gproc.request.limits import Limits
from gproc.wire import frames, messages
from gproc.wire.messages import (
    Accepted,
    Arrived,
    Attach,
    Branch,
    Credit,
    Finished,
    Granted,
    Inquire,
    Join,
    Left,
    Load,
    Message,
    NodeInfo,
    NodeState,
    Outcome,
    Peer,
    PeerHello,
    PeerReady,
    Ping,
    Poll,
    RefuseJoin,
    Rejected,
    Release,
    Resize,
    Run,
    SetSources,
    Shutdown,
    SignalJob,
    Signed,
    StageProgress,
    StripeProgress,
    Submit,
    TerminalSize,
    TreeState,
    Unavailable,
    Want,
    Welcome,
)

NODE = NodeInfo("kn7", "10.1.30.7:6666", b"n" * 16, "", 1.5)
SIGNED = Signed(b"payload", b"s" * 64)
BRANCH = Branch(-1, {1: Branch(0, {}), 2: Branch(1, {3: Branch(2, {})})})
EVERY_MESSAGE: list[Message] = [
    Join(b"t" * 16, None, False, NODE),
    Join(b"t" * 16, 7, True, NODE),
    Attach(b"t" * 16),
    Welcome(3, "10.1.30.7"),
    RefuseJoin("id 3 is taken", True),
    Arrived((), NODE),
    Left((1, 2), "gone"),
    Granted((1,), SIGNED),
    Ping(),
    Shutdown("the end"),
    Run(1, 3, SIGNED, BRANCH, 1 << 18, True, (None, Peer("kn8", "10.1.30.8:6666"))),
    SignalJob(1, 15),
    Finished(1, 2, Outcome(139, 11, True)),
    Finished(1, 2, Outcome(125, failure="no room", lost=True)),
    StageProgress(1, 2, 1 << 20, False),
    StripeProgress(1, (5 << 20, 0)),
    SetSources(1, (Peer("kn7", "10.0.0.7:6667"), None)),
    Credit(1, frames.STDOUT, 16384),
    Resize(1, TerminalSize(24, 80)),
    Release(1),
    Want(b"b" * 32, (b"d" * 32, b"e" * 32)),
    PeerHello(SIGNED),
    PeerReady(),
    Unavailable(b"b" * 32, (), "never heard of it"),
    Submit("./.", "", (b"date", b"\xff"), (b"A=\xfe",), b"/", 0o22, b"", False, None, Limits()),
    Submit("1", "2", (b"x",), (), b"/", 0, b"b" * 32, True, 2.5, Limits(1, 2, 3, 4), 9, TerminalSize(24, 80)),
    Accepted(1, ((1,), (1, 7)), "=2", 1 << 20),
    Rejected(125, "no such node"),
    Inquire(),
    TreeState("fe", 0.0, (NodeState((1,), NODE, 2, None), NodeState((1, 1), NODE, 0, 0.5))),
    Poll(4),
    Load(4, (((), 0.25), ((1, 2), 3.0))),
]


def payload_of(message: Message) -> bytes:
    return messages.frame(message)[frames.HEADER_BYTES :]


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    wire = messages.frame(message)
    assert wire[: frames.HEADER_BYTES] == frames.header(frames.KIND_CONTROL, len(wire) - frames.HEADER_BYTES)
    assert messages.decode(memoryview(payload_of(message))) == message


def test_no_message_of_the_closed_set_is_left_out_here() -> None:
    assert {type(message) for message in EVERY_MESSAGE} == set(get_args(messages.AnyMessage))


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_cut_short_or_with_more_behind_is_the_peers_fault(message: Message) -> None:
    payload = payload_of(message)
    for wrong in (*(payload[:cut] for cut in range(len(payload))), payload + b"\0"):
        with pytest.raises(PeerError, match="not a message"):
            messages.decode(memoryview(wrong))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_peers_fault(data: bytes) -> None:
    try:
        messages.decode(memoryview(data))
    except PeerError as error:
        assert str(error).startswith("not a message")


@given(st.sampled_from(EVERY_MESSAGE), st.data())
def test_a_damaged_message_is_another_message_or_the_peers_fault(message: Message, data: st.DataObject) -> None:
    payload = bytearray(payload_of(message))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = messages.decode(memoryview(payload))
    except PeerError:
        return
    assert messages.decode(memoryview(payload_of(again))) == again or "nan" in repr(again)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
keys = st.integers(-5, 5) | st.text(max_size=3)
plain_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=3), max_leaves=20
)


@given(st.integers(-1, 50), st.lists(plain_values, max_size=8))
def test_the_right_tag_before_anything_else_is_a_message_or_the_peers_fault(tag: int, fields: list[object]) -> None:
    try:
        messages.decode(memoryview(msgspec.msgpack.encode([tag, *fields])))
    except PeerError as error:
        assert str(error).startswith("not a message")


def test_a_branch_of_a_hundred_thousand_levels_is_the_peers_fault() -> None:
    head = msgspec.msgpack.encode([20, 1, 1, [b"", b""]])[1:]
    payload = b"\x97" + head + b"\x92\xff\x81\x01" * 100_000
    with pytest.raises(PeerError):
        messages.decode(memoryview(payload))


def test_text_that_is_no_utf_8_is_the_peers_fault() -> None:
    payload = payload_of(Shutdown("the end")).replace(b"the end", b"the\xffend")
    with pytest.raises(PeerError):
        messages.decode(memoryview(payload))


@pytest.mark.parametrize(
    "wrong",
    [
        Finished(1, -1, Outcome(0)),
        Finished(1, frames.EVERY_RANK, Outcome(0)),
        Finished(1, 0, Outcome(256)),
        Finished(1, 0, Outcome(-1)),
        Credit(1, 1, -1),
        Left((-1,), ""),
        Submit("1", "", (), (), b"/", 0, b"", False, None, Limits()),
        Submit("1", "", (b"x",), (), b"/", 0o1000, b"", False, None, Limits()),
        Submit("1", "", (b"x",), (), b"/", 0, b"", False, float("inf"), Limits()),
        Submit("1", "", (b"x",), (), b"/", 0, b"", False, float("nan"), Limits()),
        Submit("1", "", (b"x",), (), b"/", 0, b"", False, -1.0, Limits()),
    ],
    ids=repr,
)
def test_a_number_out_of_its_bounds_is_the_peers_fault(wrong: Message) -> None:
    with pytest.raises(PeerError):
        messages.decode(memoryview(payload_of(wrong)))


def test_every_rank_of_a_branch_is_counted_once() -> None:
    assert sorted(BRANCH.ranks()) == [0, 1, 2]
