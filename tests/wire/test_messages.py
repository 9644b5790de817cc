"""Messages through their bytes and back; and no bytes at all that are anything but a message or the peer's fault."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import PeerError
from gproc.request.limits import Limits
from gproc.request.outcome import Killed, Lost, NotStarted, Refused, Returned, Signalled, TimedOut
from gproc.request.spec import BundleName, Request, TerminalSize
from gproc.wire import frames, messages, tags
from gproc.wire.branch import Branch
from gproc.wire.credentials import AskCertificate, Certified, NewKeys, OldKeysEnd, Revocations
from gproc.wire.directions import DIRECTIONS, PARENT_TO_CHILD, Direction
from gproc.wire.endings import Acknowledged, OutputGone, RankEnded, Release
from gproc.wire.job_messages import (
    ActedOn,
    AskFailed,
    AskFaults,
    Detach,
    Detached,
    Dismissed,
    DrainNodes,
    Dropped,
    FailedNodes,
    FaultList,
    FaultRow,
    FindNodes,
    FoundNodes,
    JobList,
    JobRow,
    Keep,
    KillJob,
    ListJobs,
    Moment,
    NodesDrained,
    NotKept,
    RemoveJobs,
    SubmitKept,
    Viewing,
    ViewJob,
)
from gproc.wire.loads import Load, Poll
from gproc.wire.merging import AnnounceOutput, AnswerOutput, BringOutput, SameOutput
from gproc.wire.messages import (
    Accepted,
    Arrived,
    AskLease,
    Attach,
    Credit,
    CutOff,
    Finished,
    Goodbye,
    Granted,
    Inquire,
    JobOrder,
    Join,
    Leased,
    Left,
    Message,
    NodeInfo,
    NodeState,
    OutOfReach,
    Peer,
    PeerHello,
    PeerReady,
    Ping,
    RefuseJoin,
    Rejected,
    Resize,
    Route,
    Run,
    SetSources,
    Shutdown,
    SignalJob,
    Signed,
    StageProgress,
    StripeProgress,
    Submit,
    TreeState,
    Unavailable,
    Want,
    Welcome,
)
from gproc.wire.offer import MergeOffer
from gproc.wire.proofs import KeyProof
from gproc.wire.stacks import AskStacks, JobStacks, StackRemark, StackRow, StacksShown
from gproc.wire.task_messages import SubmitTasks, TaskFinished, TaskListing, TasksConcluded, TaskSpeaks
from gproc.wire.tree_rows import NodeDrained

NODE = NodeInfo("kn7", "10.1.30.7:6666", b"n" * 16, "", 1.5)
PROOF = KeyProof(b"-----BEGIN CERTIFICATE-----", b"k" * 32, b"s" * 64)
PROVED = NodeInfo("kn7", ":1", b"n" * 16, "", 1.5, proof=PROOF)
STACK = StackRow(("sh", "sleep", "hrtimer_nanosleep", "sleeping"), 2, ((0, 0),))
SIGNED = Signed(b"payload", b"s" * 64)
BRANCH = Branch(-1, {1: Branch(0, {}), 2: Branch(1, {3: Branch(2, {})})})
EVERY_MESSAGE: list[Message] = [
    Join(b"t" * 16, None, False, NODE),
    Join(b"t" * 16, 7, True, PROVED),
    Attach(b"t" * 16),
    Welcome(3, "10.1.30.7"),
    RefuseJoin("id 3 is taken", True),
    Arrived(Route(()), PROVED),
    Left(Route((1, 2)), "gone"),
    Granted(Route((1,)), SIGNED),
    Ping(),
    CutOff(),
    Goodbye("it was ended"),
    Shutdown("the end"),
    Shutdown("the end", Signed(b"end", b"s" * 64)),
    AskLease(Route((1, 7)), b"n" * 16),
    Leased(Route((7,)), Signed(b"lease", b"s" * 64)),
    Revocations(SIGNED),
    AskCertificate(Route((1, 7)), b"-----BEGIN CERTIFICATE-----", b"k" * 32, b"s" * 72, b"p" * 64),
    AskCertificate(Route(()), b"-----BEGIN CERTIFICATE-----", b"k" * 32, b"s" * 64, b"p" * 64, following=True),
    Certified(Route((7,)), SIGNED),
    NewKeys(SIGNED),
    OldKeysEnd(SIGNED),
    JobOrder(1, Signed(b"order", b"s" * 64)),
    Run(1, 3, SIGNED, BRANCH, 1 << 18, (None, Peer("kn8", "10.1.30.8:6666"))),
    SignalJob(1, 15),
    Finished(1, 2, Returned(3)),
    Finished(1, 2, Signalled(11, True)),
    Finished(1, 2, TimedOut(2.5, Signalled(15))),
    Finished(1, 2, TimedOut(2.5, None)),
    Finished(1, 2, Killed(9, started=True)),
    Finished(1, 2, Lost("unplugged")),
    Finished(1, 2, Refused("a replayed ticket")),
    Finished(1, 2, NotStarted("no such program", "not found")),
    RankEnded(1, 2, SIGNED),
    RankEnded(1, 2, None, "it cannot be read"),
    StageProgress(1, 2, 1 << 20, False),
    StripeProgress(1, (5 << 20, 0)),
    SetSources(1, (Peer("kn7", "10.0.0.7:6667"), None)),
    Credit(1, frames.STDOUT, 16384),
    Resize(1, TerminalSize(24, 80)),
    Acknowledged(1, 2, frames.STDERR, 1 << 20, b"s" * 64),
    OutputGone(1, 2, frames.STDERR, 1 << 20, b"s" * 64),
    Release(1, b"s" * 64),
    OutOfReach(1, "1/1-7", "unplugged", 1.5e9),
    Want(b"b" * 32, (b"d" * 32, b"e" * 32)),
    PeerHello(SIGNED),
    PeerReady(),
    Unavailable(b"b" * 32, (), "never heard of it"),
    Submit(1, Request(nodes="./.", argv=(b"date", b"\xff"), env=(b"A=\xfe",))),
    Submit(
        2,
        Request(
            nodes="1",
            exclude="2",
            action="place",
            argv=(b"x",),
            cwd=b"/a/b",
            umask=0,
            stdin=True,
            bundle=BundleName(b"b" * 32, 9),
            bin_root=b"/opt/x",
            terminal=TerminalSize(24, 80),
            timeout_s=2.5,
            limits=Limits(1, 2, 3, 4),
        ),
    ),
    Accepted(1, 1, ((1,), (1, 7)), "=2", 1 << 20),
    Rejected(1, 125, "no such node"),
    Inquire(1),
    TreeState(1, "fe", 0.0, (NodeState((1,), NODE, 2, None), NodeState((1, 1), NODE, 0, 0.5, (8 << 30, 5 << 30)))),
    TreeState(1, "fe", 0.0, (NodeState((1,), NODE, 0, 0.5, None, NodeDrained(1.0, 0, "its disk")),)),
    DrainNodes(10, "1-3", False, "its disk"),
    NodesDrained(10, "1-3", "2"),
    SameOutput(7, 3, 1, 1 << 20, 1 << 18, 0, 5),
    AnnounceOutput(7, 3, 1, 5000, 8000, 1 << 40, bytes(2 * 16), 5),
    AnswerOutput(7, 1 << 40, 3192, 4808, 1 << 24),
    BringOutput(7, 1 << 40, b"abc"),
    Run(1, 3, SIGNED, BRANCH, 1 << 18, merge=MergeOffer(5, 1 << 20, True)),
    AskStacks(11, "last", "1-3", True),
    JobStacks(11, 7, ((1,), (1, 2)), ((0, 1),), ((0, 0),), (STACK,), (), 3, (StackRemark("has ended", ((1, 1),)),)),
    StacksShown(7, 2, ((0, 0),), (STACK,), (StackRemark("there is no gdb", ((0, 0),)),), 1),
    ListJobs(1, True),
    SubmitKept(3, Request(nodes=".", argv=(b"date",)), Keep("night", True, True, True)),
    SubmitTasks(3, Request(nodes=".", argv=(b"date", b"{}"), action="map", stdin=True), Keep("night", detach=True),
                TaskListing(4, 60.0, True, 3, "argument")),
    TaskSpeaks(1 << 62, 0, 7, 9, (b"a", b"\xff")),
    TaskFinished(1 << 62, 0, 7, 9, (b"a",), 2, Returned(3), 0.5, 1.5),
    TasksConcluded(1 << 62, 101, ("line 7: exit status 3",)),
    Detach(7),
    Detached(7, "the disk is full"),
    NotKept(7, "not all of its output is kept: the disk is full"),
    Dismissed("a frame of 1 byte"),
    ViewJob(4, "last", "1-2", True, False, True, True, True, True),
    Viewing(4, 1 << 62, 7, "night", ((1,), (1, 2)), "", "running", (b"date",), 1 << 20, True, True, 5, True, True),
    Moment(1 << 62, 1.5),
    Dropped(1 << 62, 0, 1, 1 << 30),
    KillJob(5, "7", 9, "=1/2"),
    RemoveJobs(6, ("7", "night")),
    ActedOn(6, ("you have no job night",)),
    AskFailed(7, "last"),
    FailedNodes(7, 12, "=1/2", "9", (b"date", b"\xff"), True, False),
    AskFaults(9),
    FaultList(9, (FaultRow((1, 7), "kn7", "cannot be reached: closed", 1.0, "reached again from here", 2.0),)),
    FindNodes(8, ("kn1", "kn2"), ("rack3",)),
    FoundNodes(8, (((1, 7),), ()), (1,), ("kn[41-60]",)),
    JobList(1, (JobRow(7, "night", 1000, "1-3", "ended", 3, 1.0, 2.0, (b"date", b"\xff")),), 5),
    Poll(4),
    Load(4, ((Route(()), 0.25), (Route((1, 2)), 3.0)), ((Route((1, 2)), (8 << 30, 5 << 30)),)),
]


def payload_of(message: Message) -> bytes:
    return messages.frame(message)[frames.HEADER_BYTES :]


def directions_of(message: Message) -> list[Direction[Any]]:
    return [direction for direction in DIRECTIONS if type(message) in direction.messages]


directions = st.sampled_from(DIRECTIONS)


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent_where_it_may_be_said_and_nowhere_else(message: Message) -> None:
    wire = messages.frame(message)
    assert wire[: frames.HEADER_BYTES] == frames.header(frames.KIND_CONTROL, len(wire) - frames.HEADER_BYTES)
    allowed = directions_of(message)
    assert allowed
    for direction in DIRECTIONS:
        if direction in allowed:
            assert direction.decode(memoryview(payload_of(message))) == message
        else:
            with pytest.raises(PeerError, match=f"not a message {direction.name}: "):
                direction.decode(memoryview(payload_of(message)))


def test_no_message_is_left_out_here_and_none_has_anothers_tag() -> None:
    said = {kind for direction in DIRECTIONS for kind in direction.messages}
    assert {type(message) for message in EVERY_MESSAGE} == said == set(Message.__subclasses__())
    assert {kind.__name__ for kind in said} == set(tags.TAGS)
    assert len(set(tags.TAGS.values())) == len(tags.TAGS)


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_cut_short_is_the_peers_fault(message: Message) -> None:
    payload = payload_of(message)
    for direction in directions_of(message):
        for wrong in (*(payload[:cut] for cut in range(len(payload))), payload + b"\0"):
            with pytest.raises(PeerError, match="not a message"):
                direction.decode(memoryview(wrong))


def test_a_field_that_a_newer_version_appends_is_ignored_but_not_in_a_request() -> None:
    fields = msgspec.msgpack.decode(payload_of(Credit(1, frames.STDOUT, 16384)))
    newer = msgspec.msgpack.encode([*fields, "new"])
    for direction in directions_of(Credit(1, frames.STDOUT, 16384)):
        assert direction.decode(memoryview(newer)) == Credit(1, frames.STDOUT, 16384)
    tag, serial, request = msgspec.msgpack.decode(payload_of(Submit(1, Request(nodes=".", argv=(b"x",)))))
    restricted = msgspec.msgpack.encode([tag, serial, [*request, "only on Sundays"]])
    for direction in directions_of(Submit(1, Request(nodes=".", argv=(b"x",)))):
        with pytest.raises(PeerError):
            direction.decode(memoryview(restricted))


@given(directions, st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_peers_fault(direction: Direction[Message], data: bytes) -> None:
    try:
        direction.decode(memoryview(data))
    except PeerError as error:
        assert str(error).startswith("not a message")


@given(st.sampled_from(EVERY_MESSAGE), st.data())
def test_a_damaged_message_is_another_message_or_the_peers_fault(message: Message, data: st.DataObject) -> None:
    payload = bytearray(payload_of(message))
    direction = data.draw(st.sampled_from(directions_of(message)))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = direction.decode(memoryview(payload))
    except PeerError:
        return
    assert direction.decode(memoryview(payload_of(again))) == again


def floats_replaced(value: object, by: float) -> Iterator[object]:
    """The same with one of its floats replaced, each in turn."""
    if isinstance(value, float):
        yield by
    elif isinstance(value, list):
        for index, part in enumerate(value):
            for replaced in floats_replaced(part, by):
                yield [*value[:index], replaced, *value[index + 1 :]]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e300, -1.0], ids=str)
def test_no_time_and_no_load_is_one_of_which_a_date_or_json_cannot_be_made(wrong: float) -> None:
    tried = 0
    for message in EVERY_MESSAGE:
        for fields in floats_replaced(msgspec.msgpack.decode(payload_of(message)), wrong):
            for direction in directions_of(message):
                tried += 1
                with pytest.raises(PeerError, match="not a message"):
                    direction.decode(memoryview(msgspec.msgpack.encode(fields)))
    assert tried > 20


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


@given(directions, st.integers(-1, 50), st.lists(plain_values, max_size=8))
def test_the_right_tag_before_anything_else_is_a_message_or_the_peers_fault(
    direction: Direction[Message], tag: int, fields: list[object]
) -> None:
    try:
        direction.decode(memoryview(msgspec.msgpack.encode([tag, *fields])))
    except PeerError as error:
        assert str(error).startswith("not a message")


def test_a_branch_of_a_hundred_thousand_levels_is_the_peers_fault() -> None:
    head = msgspec.msgpack.encode([20, 1, 1, [b"", b""]])[1:]
    payload = b"\x97" + head + b"\x92\xff\x81\x01" * 100_000
    with pytest.raises(PeerError):
        PARENT_TO_CHILD.decode(memoryview(payload))


def test_text_that_is_no_utf_8_is_the_peers_fault() -> None:
    payload = payload_of(Shutdown("the end")).replace(b"the end", b"the\xffend")
    with pytest.raises(PeerError):
        PARENT_TO_CHILD.decode(memoryview(payload))


@pytest.mark.parametrize(
    "wrong",
    [
        Finished(1, -1, Returned(0)),
        Finished(1, frames.EVERY_RANK, Returned(0)),
        Finished(1, 0, Returned(256)),
        Finished(1, 0, Returned(-1)),
        Finished(1, 0, Signalled(0)),
        Credit(1, 1, -1),
        Credit(1, 4, 1),
        Left(Route((-1,)), ""),
        Submit(1, Request(nodes="1", argv=())),
        Submit(1, Request(nodes="1", argv=(b"x",), umask=0o1000)),
        Submit(1, Request(nodes="1", argv=(b"x",), timeout_s=float("inf"))),
        Submit(1, Request(nodes="1", argv=(b"x",), timeout_s=float("nan"))),
        Submit(1, Request(nodes="1", argv=(b"x",), timeout_s=-1.0)),
        Submit(1, Request(nodes="1", argv=(b"x",), bundle=BundleName(b"short", 1))),
    ],
    ids=repr,
)
def test_a_number_out_of_its_bounds_is_the_peers_fault(wrong: Message) -> None:
    for direction in directions_of(wrong):
        with pytest.raises(PeerError):
            direction.decode(memoryview(payload_of(wrong)))


@pytest.mark.parametrize(
    "cwd", [b"", b"relative", b"/a/../b", b"/../../etc", b"//", b"/a/", b"/./a", b"/a\0b", b"/" * 5000]
)
def test_a_working_directory_that_could_lead_elsewhere_is_no_request(cwd: bytes) -> None:
    with pytest.raises(ValueError, match="the working directory"):
        Request(nodes="1", argv=(b"x",), cwd=cwd)


def test_every_rank_of_a_branch_is_counted_once() -> None:
    assert sorted(BRANCH.ranks()) == [0, 1, 2]


@pytest.mark.parametrize("keep", [Keep(), Keep(survive=True), Keep("", detach=True, survive=True)])
def test_a_list_of_tasks_that_nobody_would_hand_out_is_refused(keep: Keep) -> None:
    request = Request(nodes=".", argv=(b"date", b"{}"), stdin=True)
    with pytest.raises(ValueError, match="that is detached"):
        SubmitTasks(3, request, Keep(detach=True), TaskListing())
    with pytest.raises(ValueError, match="that is detached"):
        SubmitTasks(3, msgspec.structs.replace(request, action="map"), keep, TaskListing())
