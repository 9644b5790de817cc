"""Output that the children of one parent have alike comes from one of them; the parent gets every byte of all."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import PeerError
from gproc.relay.announcing import Announcer
from gproc.relay.common import (
    ANSWER_S,
    LOST_MAX,
    PAUSE_BYTES,
    PAUSED_POOL_BYTES,
    POOL_BYTES,
    PROBED_BYTES,
    QUEUED_MAX,
)
from gproc.wire.branch import Branch
from gproc.wire.endings import OutputGone, RankEnded
from gproc.wire.merging import ANNOUNCED_BYTES_MIN, AnnounceOutput, BringOutput, SameOutput
from gproc.wire.messages import Run
from tests.relay.family import ALIKE, JOB, OTHER, STRANGE, TICKET, Family


def test_what_all_children_have_alike_crosses_one_link() -> None:
    family = Family(40)
    for rank, child in enumerate(family.children):
        family.say(child, rank, 0, ALIKE)
        family.end(child, rank)
    family.settle()
    assert all(bytes(got) == ALIKE for got in family.up.got.values()) and len(family.up.got) == 40
    assert sorted(family.up.ended) == list(range(40))
    assert family.bytes < 1.3 * len(ALIKE)


def test_only_what_differs_is_brought_by_the_others() -> None:
    family = Family(10, ranks=3)
    for rank in range(30):
        family.say(family.children[rank // 3], rank, 0, OTHER if rank == 20 else ALIKE)
    family.settle()
    assert [bytes(family.up.got[rank]) for rank in (19, 20, 21)] == [ALIKE, OTHER, ALIKE]
    assert family.bytes < len(ALIKE) + 40_000 + 25_000


def test_the_copy_of_a_child_that_dies_meanwhile_comes_from_another() -> None:
    family = Family(3)
    for rank, child in enumerate(family.children):
        family.say(child, rank, 0, ALIKE)
        family.end(child, rank)
    dying, *others = family.children
    while dying.up:
        family.deliver_up(dying)
    for child in others:
        while child.up:
            family.deliver_up(child)
    assert not family.up.got  # one was asked, and the others wait for it
    assert [bool(child.down) for child in family.children] == [True, False, False]
    family.children.remove(dying)
    family.parent.left(dying)
    family.settle()
    assert {rank: bytes(got) for rank, got in family.up.got.items()} == {1: ALIKE, 2: ALIKE}
    assert sum(child.bytes for child in others) < 1.1 * len(ALIKE)


def test_a_child_waits_for_another_one_only_for_a_while() -> None:
    family = Family(2)
    slow, quick = family.children
    family.say(slow, 0, 0, ALIKE[:5000])
    family.say(quick, 1, 0, ALIKE[:5000])
    family.deliver_up(slow)
    family.deliver_up(quick)
    for _ in range(2):
        assert not quick.down
        delay_s, call = family.timers.pop()
        assert delay_s == ANSWER_S
        call()
    family.deliver_down(quick)
    family.deliver_up(quick)
    assert {rank: bytes(got) for rank, got in family.up.got.items()} == {1: ALIKE[:5000]} and not family.timers
    family.settle()
    assert bytes(family.up.got[0]) == ALIKE[:5000]


def test_a_child_that_has_forgotten_the_job_holds_up_nobody() -> None:
    """It is the same connection: the parent sends `Run` once more, and asks again."""
    family = Family(2)
    child, other = family.children
    family.say(child, 0, 0, ALIKE[:5000])
    family.deliver_up(child)
    child.down.clear()
    rack = Branch(-1, {1: Branch(0, {})})
    family.parent.resume(Run(JOB, 2, TICKET, Branch(-1, {0: rack}), 1 << 20), {child: rack}, family.up)
    family.say(child, 0, 0, ALIKE[:5000])
    family.say(other, 1, 0, ALIKE[:5000])
    family.settle()
    assert {rank: bytes(got) for rank, got in family.up.got.items()} == {0: ALIKE[:5000], 1: ALIKE[:5000]}


def test_a_reference_to_output_that_its_child_has_lost_is_lost_too_and_comes_again() -> None:
    """An honest child was dropped: "a reference to output that it has not sent, or too long ago"."""
    family = Family(2, ranks=2)
    child, other = family.children
    family.say(child, 0, 0, ALIKE[:5000])
    family.say(child, 1, 0, ALIKE[:5000])
    assert isinstance(child.up[-1], SameOutput)
    while child.up:
        family.deliver_up(child)
    child.down.clear()
    rack = Branch(-1, {1: Branch(0, {}), 2: Branch(1, {})})
    outlet = family.parent._outlets[1]
    assert outlet._used[child] == 10_000
    family.parent.resume(Run(JOB, 4, TICKET, Branch(-1, {0: rack}), 1 << 20), {child: rack}, family.up)
    family.settle()
    assert not family.up.got and outlet._owed[child] == 10_000  # its credit comes back with the next part
    for rank in (0, 1):
        family.say(child, rank, 0, ALIKE[:5000])
        family.end(child, rank)
    family.say(other, 2, 0, ALIKE[:5000])
    family.settle()
    assert {rank: bytes(got) for rank, got in family.up.got.items()} == dict.fromkeys(range(3), ALIKE[:5000])
    assert family.up.ended == [0, 1]


def test_a_child_that_never_has_what_it_announces_is_dropped() -> None:
    """Each of its answers cost its parent a look at all that waited, without end."""
    family = Family(2)
    child = family.children[0]
    announcer = Announcer(JOB, family.parent._kept[child].offer.epoch)
    with pytest.raises(PeerError, match="that it has announced"):
        for _ in range(LOST_MAX + 1):
            announcement = announcer.announce(0, 1, 0, os.urandom(ANNOUNCED_BYTES_MIN))
            assert announcement is not None
            family.parent.announced(child, announcement)
            family.parent.brought(child, BringOutput(JOB, announcement.serial, b""))
    assert not family.up.got


def test_nodes_that_say_different_things_stop_to_announce_for_a_while() -> None:
    family = Family(2)
    size = PROBED_BYTES
    for number in range(8):
        for rank, child in enumerate(family.children):
            family.say(child, rank, number * (1 << 19), os.urandom(1 << 19))
            family.settle()
    announced = [child.relayed._sent.announcer._pause_bytes for child in family.children]  # type: ignore[union-attr]
    assert all(0 < pause <= PAUSE_BYTES for pause in announced)
    assert family.bytes < 8 * (1 << 20) + size // 100
    assert family.parent._common._pool._bytes <= PAUSED_POOL_BYTES  # type: ignore[union-attr]
    # When they say the same again, that is found out by the next announcements.
    before, same = family.bytes, os.urandom(1 << 19)
    rounds = 2 * PAUSE_BYTES // len(same)
    for number in range(8, 8 + rounds):
        for rank, child in enumerate(family.children):
            family.say(child, rank, number * (1 << 19), same)
        family.settle()
    assert family.bytes - before < 2 * rounds * len(same) - PAUSE_BYTES // 2


def test_short_output_goes_at_once() -> None:
    family = Family(2)
    for rank, child in enumerate(family.children):
        family.say(child, rank, 0, ALIKE[: ANNOUNCED_BYTES_MIN - 1])
        assert isinstance(child.up[0], bytes)


def test_an_only_child_announces_nothing() -> None:
    family = Family(1, ranks=3)
    for rank in range(3):
        family.say(family.children[0], rank, 0, ALIKE)
    assert not any(isinstance(said, AnnounceOutput) for said in family.children[0].up)


@pytest.mark.parametrize("size", [1, 9_999, 5001])
def test_to_bring_what_was_not_asked_for_breaks_the_protocol(size: int) -> None:
    family = Family(2)
    child = family.children[0]
    family.say(child, 0, 0, ALIKE[:5000])
    announcement = child.up[0]
    assert isinstance(announcement, AnnounceOutput)
    family.deliver_up(child)
    with pytest.raises(PeerError):
        family.parent.brought(child, BringOutput(JOB, announcement.serial, bytes(size)))


def test_a_number_that_is_announced_twice_breaks_the_protocol() -> None:
    """The first of the two was never closed, and others waited for its bytes."""
    family = Family(2)
    child = family.children[0]
    family.say(child, 0, 0, ALIKE[:5000])
    (announcement,) = [item for item in child.up if isinstance(item, AnnounceOutput)]
    family.parent.announced(child, announcement)
    with pytest.raises(PeerError, match="two outputs"):
        family.parent.announced(child, announcement)


def test_what_waits_behind_an_announcement_has_a_bound() -> None:
    family = Family(2)
    child = family.children[0]
    family.say(child, 0, 0, ALIKE[:5000])
    family.deliver_up(child)
    end = RankEnded(JOB, 0, TICKET)
    with pytest.raises(PeerError):
        for _ in range(QUEUED_MAX + 1):
            family.parent.finished(child, end)


def test_word_that_output_is_gone_waits_behind_what_was_announced_before_it() -> None:
    family = Family(2)
    child = family.children[0]
    family.say(child, 0, 0, ALIKE[:5000])
    family.deliver_up(child)
    family.parent.output_gone(child, OutputGone(JOB, 0, 1, 9000))
    assert not family.up.gone
    family.settle()
    assert (bytes(family.up.got[0]), family.up.gone) == (ALIKE[:5000], [9000])


def test_a_child_whose_bytes_are_not_what_it_announced_harms_nobody_else() -> None:
    family = Family(2)
    liar, honest = family.children
    family.say(liar, 0, 0, ALIKE[:5000])
    family.say(honest, 1, 0, ALIKE[:5000])
    family.deliver_up(liar)
    family.deliver_up(honest)
    family.deliver_down(liar)
    brought = liar.up.popleft()
    assert isinstance(brought, BringOutput)
    family.parent.brought(liar, BringOutput(JOB, brought.serial, b"x" * 5000))
    family.settle()
    assert bytes(family.up.got[1]) == ALIKE[:5000]


def test_a_bad_reference_behind_an_announcement_is_the_fault_of_its_own_child() -> None:
    family = Family(2, ranks=2)
    first, bad = family.children
    family.say(first, 0, 0, ALIKE[:5000])
    family.say(bad, 2, 0, ALIKE[:5000])
    family.deliver_up(first)
    family.deliver_up(bad)
    kept = family.parent._kept[bad]
    family.parent.same_output(bad, SameOutput(JOB, 3, 1, 70_000, 100, 2, kept.offer.epoch))
    family.settle()
    with pytest.raises(PeerError):
        family.parent.finished(bad, RankEnded(JOB, 3, TICKET))


STEPS = st.lists(st.tuples(st.sampled_from("suudde"), st.integers(0, 3), st.integers(1, 30_000)), max_size=80)


@given(STEPS, st.sampled_from([1, 2]))
def test_every_byte_arrives_in_order_whatever_comes_when_and_is_cut_where(
    steps: list[tuple[str, int, int]], ranks: int
) -> None:
    family = Family(4, ranks)
    outputs = [ALIKE, ALIKE, OTHER, ALIKE, STRANGE, ALIKE, ALIKE, OTHER][: 4 * ranks]
    said = dict.fromkeys(range(4 * ranks), 0)
    for step, number, size in steps:
        child = family.children[number]
        rank = number * ranks + size % ranks
        if step == "s":
            data = outputs[rank][said[rank] : said[rank] + size]
            if data:
                family.say(child, rank, said[rank], data)
            said[rank] += len(data)
        elif step == "u" and child.up:
            family.deliver_up(child)
        elif step == "d" and child.down:
            family.deliver_down(child)
        elif step == "e" and family.timers:
            family.timers.pop()[1]()
    for rank in range(4 * ranks):
        family.end(family.children[rank // ranks], rank)
    family.settle()
    assert {rank: bytes(got) for rank, got in family.up.got.items()} == {
        rank: outputs[rank][:size] for rank, size in said.items() if size
    }
    assert sorted(family.up.ended) == list(range(4 * ranks))
    assert len(ALIKE) <= POOL_BYTES
