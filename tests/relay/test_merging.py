"""Output that ranks have alike goes up a link once.  The parent gets every byte, however links are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import PeerError
from gproc.relay.merging import (
    CANDIDATES_MAX,
    JOB_BYTES,
    LEAST_BYTES,
    LINK_BYTES,
    PIECES_MAX,
    KeptForLink,
    Recent,
    SentOutput,
    SentPiece,
    bytes_for_link,
)
from gproc.relay.relayed_job import RelayedJob
from gproc.request.spec import Request
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.merging import SameOutput
from gproc.wire.messages import Message, Run, Signed

JOB = 7
OUTPUT = bytes(number * 7 % 251 for number in range(4000))
CHANGED = OUTPUT[:1500] + b"x" + OUTPUT[1501:]
OTHER = OUTPUT[:300] + b"y" * 90 + OUTPUT[390:2000] + b"z" + OUTPUT[2001:]
TICKET = Signed(b"ticket", b"signature")


class Link:
    """A link to a parent, without a network.  bytes: of the frames that went over it."""

    def __init__(self, most_bytes: int = 1 << 20) -> None:
        self.kept = KeptForLink(most_bytes)
        self.sent = SentOutput(JOB, self.kept.offer)
        self.got: dict[int, bytearray] = {}
        self.bytes = self.references = 0

    def send(self, rank: int, offset: int, data: bytes) -> None:
        for said in self.sent.frames_of(frames.stdio_frame(JOB, rank, frames.STDOUT, offset, data)):
            if isinstance(said, SameOutput):
                self.references += 1
                there = self.kept.bytes_of(said)
                assert there is not None
                self._take(said.rank, said.offset, bytes(there))
            else:
                assert isinstance(said, bytes)
                self.bytes += len(said)
                _, of, stream, at, view = frames.read_stdio(memoryview(said)[frames.HEADER_BYTES :])
                self.kept.note(of, stream, at, view)
                self._take(of, at, bytes(view))

    def _take(self, rank: int, offset: int, data: bytes) -> None:
        have = self.got.setdefault(rank, bytearray())
        assert offset <= len(have)
        have[offset:] = data


STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 700)), max_size=60)


@given(STEPS, st.sampled_from([100, 400, 900, 2000, 1 << 20]))
def test_every_byte_arrives_whatever_is_cut_where_and_however_little_is_kept(
    steps: list[tuple[int, int]], most_bytes: int
) -> None:
    link = Link(most_bytes)
    said = dict.fromkeys(range(6), 0)
    outputs = [OUTPUT, OUTPUT, CHANGED, OTHER, CHANGED, OUTPUT[::-1]]
    for rank, size in steps:
        begin = said[rank]
        if data := outputs[rank][begin : begin + size]:
            link.send(rank, begin, data)
            said[rank] += len(data)
    assert {rank: bytes(got) for rank, got in link.got.items()} == {
        rank: outputs[rank][:size] for rank, size in said.items() if size
    }


def test_what_all_say_alike_is_sent_once() -> None:
    link = Link()
    for rank in range(80):
        link.send(rank, 0, OUTPUT)
    assert (link.bytes, link.references) == (frames.HEADER_BYTES + frames.STDIO_HEADER_BYTES + len(OUTPUT), 79)


def test_it_is_sent_once_even_if_each_cuts_it_elsewhere() -> None:
    link = Link()
    for rank in range(10):
        for begin in range(0, len(OUTPUT), 700 + 13 * rank):
            link.send(rank, begin, OUTPUT[begin : begin + 700 + 13 * rank])
    assert all(bytes(got) == OUTPUT for got in link.got.values())
    assert link.bytes < 2 * len(OUTPUT)


def test_only_what_differs_is_sent_again() -> None:
    link = Link()
    link.send(0, 0, OUTPUT)
    before = link.bytes
    for rank in range(1, 9):
        for begin in range(0, 4000, 500):
            link.send(rank, begin, CHANGED[begin : begin + 500])
    assert link.bytes - before < 600  # once the 500 bytes with the change, and their head


def test_short_output_is_sent_as_it_is() -> None:
    link = Link()
    for rank in range(3):
        link.send(rank, 0, b"x" * (LEAST_BYTES - 1))
    assert link.references == 0


def test_what_is_kept_has_bounds() -> None:
    recent: Recent[SentPiece] = Recent(1000)
    for number in range(100):
        recent.note("key", SentPiece(number, 100 * number, bytes(100)))
    assert [list(recent.covering("key", offset)) == [] for offset in (8900, 9000)] == [True, False]
    small: Recent[SentPiece] = Recent(1 << 30)
    for number in range(PIECES_MAX + 5):
        small.note(number, SentPiece(number, 0, bytes(LEAST_BYTES)))
    assert not list(small.covering(4, 0)) and list(small.covering(5, 0))
    alike: Recent[SentPiece] = Recent(1 << 20)
    for number in range(100):
        alike.note("key", SentPiece(number, 0, bytes(100)))
    assert [piece.rank for piece in alike.covering("key", 5)] == list(range(99, 99 - CANDIDATES_MAX, -1))


def test_all_links_of_a_job_together_keep_no_more_than_the_bound() -> None:
    assert bytes_for_link(1, 0) == LINK_BYTES
    assert 64 * bytes_for_link(64, 0) <= JOB_BYTES
    assert bytes_for_link(3, JOB_BYTES) == 0


# In a relayed job


class Down:
    """A child that relays."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.granted = 0

    def start(self, run: Run) -> None:
        self.runs.append(run)

    def credit(self, job: int, stream: int, size: int) -> None:
        self.granted += size

    def acknowledge(self, taken: object) -> None:
        pass

    obey = stdin = release = answer = acknowledge


class Up:
    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.frames: list[bytes] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)


RACK = Branch(-1, {1: Branch(0, {}), 2: Branch(1, {})})


def relayed() -> tuple[RelayedJob, Down, Up]:
    down, up = Down(), Up()
    job = RelayedJob(JOB, TICKET, Request(nodes=".", argv=(b"x",)), up)
    job.start(Run(JOB, 2, TICKET, Branch(-1, {1: RACK}), 1 << 20), {down: RACK}, {})  # type: ignore[dict-item]
    return job, down, up


def same(job: RelayedJob, down: Down, **changed: int) -> SameOutput:
    offer = down.runs[0].merge
    assert offer is not None
    facts = {"rank": 1, "stream": 1, "offset": 0, "size": 500, "of": 0, "epoch": offer.epoch, **changed}
    return SameOutput(JOB, **facts)


def test_only_a_child_with_others_below_it_gets_an_offer() -> None:
    job, down, _ = relayed()
    assert down.runs[0].merge is not None
    leaf = Down()
    other = RelayedJob(JOB, TICKET, Request(nodes=".", argv=(b"x",)), Up())
    other.start(Run(JOB, 1, TICKET, Branch(-1, {1: Branch(0, {})}), 1 << 20), {leaf: Branch(0, {})}, {})  # type: ignore[dict-item]
    assert leaf.runs[0].merge is None
    assert job.job == JOB


def test_without_an_offer_everything_goes_up_as_it_came() -> None:
    """As to a parent of an older release."""
    job, down, up = relayed()
    for rank in (0, 1):
        job.output(down, rank, 1, 0, OUTPUT[:500])  # type: ignore[arg-type]
    assert len(up.frames) == 2 and not up.sent


def test_a_reference_is_the_output_that_it_means() -> None:
    job, down, up = relayed()
    job.output(down, 0, 1, 0, OUTPUT[:500])  # type: ignore[arg-type]
    job.same_output(down, same(job, down))  # type: ignore[arg-type]
    assert up.frames[1] == frames.stdio_frame(JOB, 1, 1, 0, OUTPUT[:500])


@pytest.mark.parametrize("changed", [{"of": 1}, {"size": 501}, {"offset": 1}, {"stream": 2}, {"of": 9}])
def test_a_reference_to_what_was_not_sent_breaks_the_protocol(changed: dict[str, int]) -> None:
    job, down, _ = relayed()
    job.output(down, 0, 1, 0, OUTPUT[:500])  # type: ignore[arg-type]
    with pytest.raises(PeerError):
        job.same_output(down, same(job, down, **changed))  # type: ignore[arg-type]


def test_a_reference_of_a_former_offer_is_dropped_and_its_credit_comes_back() -> None:
    job, down, up = relayed()
    size = frames.MAX_STDIO_BYTES
    for _ in range(20):
        job.same_output(down, same(job, down, epoch=0, size=size))  # type: ignore[arg-type]
    assert not up.frames and down.granted >= 19 * size


def test_a_child_speaks_for_its_own_ranks_by_reference_too() -> None:
    job, down, up = relayed()
    job.output(down, 0, 1, 0, OUTPUT[:500])  # type: ignore[arg-type]
    job.same_output(down, same(job, down, rank=5))  # type: ignore[arg-type]
    assert len(up.frames) == 1


def test_nothing_is_taken_as_sent_on_another_link() -> None:
    job, down, _ = relayed()
    first, second = Up(), Up()
    for up, epoch in ((first, 5), (second, 5)):
        run = Run(JOB, 2, TICKET, Branch(-1, {1: RACK}), 1 << 20, merge=KeptForLink(1 << 20).offer)
        job.resume(run, {down: RACK}, up)  # type: ignore[dict-item]
        for rank in (0, 1):
            job.output(down, rank, 1, 0, OUTPUT[:500])  # type: ignore[arg-type]
        assert len(up.frames) == 1 and len(up.sent) == 1 and epoch == 5


def test_what_comes_after_a_difference_is_a_reference_again() -> None:
    link = Link()
    link.send(0, 0, OUTPUT)
    before = link.bytes
    for rank in range(1, 9):
        link.send(rank, 0, OUTPUT[:1500] + bytes([rank]) + OUTPUT[1501:])
    assert link.references == 16 and link.bytes - before < 8 * 40
