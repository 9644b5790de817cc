"""A session without I/O, against a master in memory: what comes is told the same, however it is cut."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.client.events import Exited, Output, Staged, Started
from gproc.client.session import (
    STDIN_BYTES,
    ChunksWanted,
    ClientSession,
    JobEvent,
    JobRefused,
    SessionEvent,
    StdinReady,
    TreeAnswer,
)
from gproc.client.session_job import SessionJob
from gproc.errors import PeerError
from gproc.request.outcome import Lost, Returned
from gproc.request.spec import Request, TerminalSize
from gproc.wire import frames
from gproc.wire.credit import quantum
from gproc.wire.directions import CLIENT_TO_MASTER
from gproc.wire.messages import (
    Accepted,
    Credit,
    Finished,
    Inquire,
    Message,
    Ping,
    Rejected,
    Resize,
    SignalJob,
    StageProgress,
    Submit,
    TreeState,
    Unavailable,
    Want,
    frame,
)
from tests.pieces import piece_frame

GREETING: Final = frames.preface(frames.CHANNEL_CLIENT)
REQUEST: Final = Request(nodes="1-2", argv=(b"cat",), stdin=True)
WINDOW: Final = frames.CLIENT_WINDOW_BYTES
TREE: Final = TreeState(9, "master", 1.0, ())


def feed(session: ClientSession, data: bytes, sizes: Iterable[int] = ()) -> list[SessionEvent]:
    """Give the session these bytes, in pieces of these sizes and then the rest."""
    told = []
    cuts = iter(sizes)
    while data:
        space = session.space()
        count = min(len(space), len(data), next(cuts, len(data)))
        space[:count] = data[:count]
        for event in session.received(count):
            told.append(kept(event))
        data = data[count:]
    return told


def kept(event: SessionEvent) -> SessionEvent:
    """The event with data of its own: a session's is good until the next bytes only."""
    if isinstance(event, JobEvent) and isinstance(event.event, Output):
        return JobEvent(event.job, msgspec.structs.replace(event.event, data=bytes(event.event.data)))
    return event


def sent(session: ClientSession) -> list[Any]:
    """What the session has sent since the last call: messages, and other frames as (kind, payload)."""
    data = b"".join(bytes(piece) for piece in session.outbox)
    session.outbox.clear()
    if data.startswith(frames.MAGIC):
        data = data[frames.PREFACE_BYTES :]
    found: list[Any] = []
    while data:
        length, kind = int.from_bytes(data[:4], "big"), data[4]
        payload, data = data[5 : 5 + length], data[5 + length :]
        found.append(CLIENT_TO_MASTER.decode(memoryview(payload)) if kind == frames.KIND_CONTROL else (kind, payload))
    return found


def accepted(job: SessionJob, number: int) -> bytes:
    return frame(Accepted(job.serial, number, ((1,), (2, 5)), "", WINDOW))


def running(number: int = 4) -> tuple[ClientSession, SessionJob]:
    """A session with one job on nodes 1 and 2/5."""
    session = ClientSession()
    job = session.submit(REQUEST)
    feed(session, GREETING + accepted(job, number))
    sent(session)
    return session, job


def output(job: int, rank: int, data: bytes, stream: int = frames.STDOUT) -> bytes:
    return frames.stdio_frame(job, rank, stream, 0, data)


def a_whole_talk(jobs: list[SessionJob]) -> bytes:
    """All that a master can say: the first job ends, the second one is refused, the third one goes on."""
    first, second, third = jobs
    said: list[bytes] = [
        GREETING,
        accepted(first, 4),
        accepted(third, 5),
        frame(Rejected(second.serial, 125, "no node is connected")),
        frame(Want(b"b" * 32, (b"c" * 32, b"d" * 32))),
        frame(StageProgress(4, 1, 1 << 20, True)),
        output(4, 1, b"one line\n"),
        output(5, 0, b"x" * 100_000, frames.STDERR),
        output(4, 0, b""),
        frame(Credit(5, frames.STDIN, 77)),
        frame(TREE),
        frame(Finished(4, 1, Returned(3))),
        frame(Finished(4, 0, Lost("it is gone"))),
    ]
    return b"".join(said)


def told_of_a_whole_talk(sizes: Iterable[int]) -> list[str]:
    session = ClientSession()
    jobs = [session.submit(REQUEST) for _ in range(3)]
    shown = []
    for event in feed(session, a_whole_talk(jobs), sizes):
        of = f"job {jobs.index(event.job)}: " if isinstance(event, JobEvent | JobRefused | StdinReady) else ""
        shown.append(of + repr(event.event if isinstance(event, JobEvent) else type(event).__name__))
    assert [job.ended for job in jobs] == [True, True, False]
    assert jobs[1].rejected is not None
    assert jobs[1].rejected.exit_status == 125
    assert jobs[2].stdin_credit == WINDOW + 77
    return shown


WHOLE: Final = [
    f"job 0: {Started(('1', '2/5'), '')!r}",
    "job 0: 'StdinReady'",
    f"job 2: {Started(('1', '2/5'), '')!r}",
    "job 2: 'StdinReady'",
    "job 1: 'JobRefused'",
    "'ChunksWanted'",
    f"job 0: {Staged('2/5', 1 << 20, True, 1)!r}",
    f"job 0: {Output('2/5', 'stdout', b'one line' + bytes([10]), 1)!r}",
    f"job 2: {Output('1', 'stderr', b'x' * 100_000, 0)!r}",
    f"job 0: {Output('1', 'stdout', b'', 0)!r}",
    "job 2: 'StdinReady'",
    "'TreeAnswer'",
    f"job 0: {Exited('2/5', Returned(3), 1)!r}",
    f"job 0: {Exited('1', Lost('it is gone'), 0)!r}",
]


def test_the_events_come_in_the_order_of_the_masters_messages() -> None:
    assert told_of_a_whole_talk(()) == WHOLE


def test_the_events_are_the_same_if_the_bytes_come_one_by_one() -> None:
    assert told_of_a_whole_talk(1 for _ in range(1 << 20)) == WHOLE


@given(st.lists(st.integers(1, 5000), max_size=60))
def test_the_events_are_the_same_for_every_cut_of_the_bytes(sizes: list[int]) -> None:
    assert told_of_a_whole_talk(sizes) == WHOLE


@given(st.permutations(range(40)), st.permutations(range(40)))
def test_many_jobs_of_a_session_do_not_mix(accepting: list[int], ending: list[int]) -> None:
    session = ClientSession()
    jobs = [session.submit(REQUEST) for _ in range(40)]
    assert len({message.serial for message in sent(session)}) == 40
    feed(session, GREETING + b"".join(accepted(jobs[index], 100 + index) for index in accepting))
    for index in ending:
        number = 100 + index
        said = output(number, 1, b"of %d" % index) + b"".join(
            frame(Finished(number, rank, Returned(index))) for rank in range(2)
        )
        told = [event for event in feed(session, said) if isinstance(event, JobEvent)]
        assert all(event.job is jobs[index] for event in told)
        assert [type(event.event) for event in told] == [Output, Exited, Exited]
    assert all(job.outcomes == {0: Returned(index), 1: Returned(index)} for index, job in enumerate(jobs))


def test_messages_that_come_after_a_jobs_end_are_no_fault() -> None:
    session, job = running()
    feed(session, b"".join(frame(Finished(4, rank, Returned(0))) for rank in range(2)))
    assert job.ended
    late = output(4, 0, b"late") + frame(Finished(4, 0, Returned(1))) + frame(Credit(4, frames.STDIN, 1))
    assert feed(session, late) == []
    assert job.outcomes[0] == Returned(0)
    session.signal(job, signal.SIGTERM)
    session.resize(job, TerminalSize(24, 80))
    session.end_stdin(job)
    session.consumed(job, "stdout", WINDOW)
    assert session.write_stdin(job, b"to nobody") == 9, "it counts as taken, so that nobody waits for room"
    assert sent(session) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (output(4, 2, b"x"), "rank 2 of job 4"),
        (output(4, frames.EVERY_RANK, b"x"), "rank 4294967295 of job 4"),
        (frame(Finished(4, 2, Returned(0))), "rank 2 of job 4"),
        (frame(StageProgress(4, 7, 1, False)), "rank 7 of job 4"),
        (frame(Finished(4, 0, Returned(0))) + output(4, 0, b"x"), "rank 0 of job 4"),
        (output(4, 0, b"x", frames.STDIN), "sent standard input"),
        (frame(Accepted(99, 9, (), "", 1)), "nobody submitted"),
        (piece_frame(next(frames.pieces(b"d" * 32, frames.CODEC_RAW, b"x"))), "a chunk, which nobody asked for"),
        (frame(Ping()), "not a message of the master"),
        (frame(Inquire(1)), "not a message of the master"),
        (frames.header(9, 0), "kind 9"),
        (frames.header(frames.KIND_CONTROL, frames.MAX_CONTROL_BYTES + 1), "longer than"),
    ],
)
def test_a_message_that_no_master_sends_is_refused_with_the_reason(said: bytes, reason: str) -> None:
    session, _ = running()
    with pytest.raises(PeerError, match=reason):
        feed(session, said)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request", "not a gproc peer"),
        (frames.MAGIC + b"\0\x63" + bytes([frames.CHANNEL_CLIENT]), "version 99"),
    ],
)
def test_a_server_that_is_no_gproc_master_is_refused_at_once(said: bytes, reason: str) -> None:
    with pytest.raises(PeerError, match=reason):
        feed(ClientSession(), said)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_garbage_is_refused_or_awaited_and_nothing_else(garbage: bytes, position: int) -> None:
    session = ClientSession()
    whole = a_whole_talk([session.submit(REQUEST) for _ in range(3)])
    try:
        feed(session, whole[:position] + garbage)
    except PeerError as error:
        assert str(error)


def test_a_request_is_sent_as_it_was_given() -> None:
    session = ClientSession()
    assert b"".join(map(bytes, session.outbox)) == GREETING
    job = session.submit(REQUEST)
    assert session.inquire() != job.serial
    assert sent(session) == [Submit(job.serial, REQUEST), Inquire(job.serial + 1)]


def test_signals_and_sizes_go_to_a_job_that_the_master_has_taken() -> None:
    session, job = running()
    session.signal(job, signal.SIGINT)
    session.resize(job, TerminalSize(24, 80))
    assert sent(session) == [SignalJob(4, signal.SIGINT), Resize(4, TerminalSize(24, 80))]
    with pytest.raises(ValueError, match="signal 11"):
        session.signal(job, signal.SIGSEGV)
    waiting = session.submit(REQUEST)
    sent(session)
    session.resize(waiting, TerminalSize(24, 80))
    assert session.write_stdin(waiting, b"x") == 0
    assert sent(session) == []


def test_a_signal_that_comes_before_the_master_has_taken_the_job_is_not_lost() -> None:
    session, _ = running()
    waiting = session.submit(REQUEST)
    session.signal(waiting, signal.SIGKILL)
    session.signal(waiting, signal.SIGKILL)
    sent(session)
    feed(session, frame(Accepted(waiting.serial, 5, ((1,),), "", WINDOW)))
    assert sent(session) == [SignalJob(5, signal.SIGKILL)]


@given(st.lists(st.one_of(st.integers(1, 3 * STDIN_BYTES), st.none()), max_size=30))
def test_no_more_input_is_sent_than_the_master_has_room_for(actions: list[int | None]) -> None:
    session, job = running()
    room, written = WINDOW, b""
    for size in actions:
        if size is None:
            assert feed(session, frame(Credit(4, frames.STDIN, 1000))) == [StdinReady(job)]
            room += 1000
            continue
        data = bytes([size % 256]) * size
        taken = session.write_stdin(job, data)
        assert taken == min(size, room, STDIN_BYTES)
        room -= taken
        written += data[:taken]
    arrived = [frames.read_stdio(memoryview(payload)) for _, payload in sent(session)]
    assert all(part[:3] == (4, frames.EVERY_RANK, frames.STDIN) and len(part[4]) for part in arrived)
    assert b"".join(part[4] for part in arrived) == written


def test_the_end_of_input_is_a_frame_without_bytes() -> None:
    session, job = running()
    session.end_stdin(job)
    ((kind, payload),) = sent(session)
    assert kind == frames.KIND_STDIO
    *where, data = frames.read_stdio(memoryview(payload))
    assert where == [4, frames.EVERY_RANK, frames.STDIN, 0]
    assert len(data) == 0


def test_a_job_without_input_has_no_room_for_any() -> None:
    session = ClientSession()
    job = session.submit(msgspec.structs.replace(REQUEST, stdin=False))
    told = feed(session, GREETING + accepted(job, 4))
    assert not any(isinstance(event, StdinReady) for event in told)
    assert session.write_stdin(job, b"x") == 0


@given(st.lists(st.integers(1, WINDOW // 3), min_size=1, max_size=40))
def test_credit_is_returned_for_taken_output_alone(sizes: list[int]) -> None:
    session, job = running()
    for size in sizes:
        session.consumed(job, "stdout", size)
    returned: list[Message] = sent(session)
    assert all(isinstance(credit, Credit) and (credit.job, credit.stream) == (4, frames.STDOUT) for credit in returned)
    owed = sum(sizes) - sum(credit.bytes for credit in returned if isinstance(credit, Credit))
    assert 0 <= owed < quantum(WINDOW), "a writer that waits for credit would wait for ever"


def test_chunks_that_the_master_wants_are_sent_or_refused() -> None:
    session, _ = running()
    digest, bundle, data = b"c" * 32, b"b" * 32, bytes(range(256)) * 1024
    assert feed(session, frame(Want(bundle, (digest,)))) == [ChunksWanted(bundle, (digest,))]
    session.send_chunk(digest, data)
    pieces = [frames.read_piece(memoryview(payload)) for _, payload in sent(session)]
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    session.refuse_chunk(bundle, digest, "the file has changed")
    assert sent(session) == [Unavailable(bundle, (digest,), "the file has changed")]


def test_an_answer_about_the_tree_is_an_event() -> None:
    session, _ = running()
    assert feed(session, frame(TREE)) == [TreeAnswer(TREE)]
