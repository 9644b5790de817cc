"""What a store keeps and removes: the rules, and the rules on a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.content.manifest import Digest
from gproc.errors import StoreError
from gproc.store import room
from gproc.store.room import Disk, Use
from gproc.store.store import Store
from tests.store.samples import OWN, begin, bundle_of, cut, file_of, other_bundle, receive_other

GIB = 1 << 30
MIB = 1 << 20
MANY = 10**9
sizes = st.integers(0, 1 << 50)
uses = st.builds(Use, sizes, sizes)


def test_by_default_4_gib_are_kept_a_tenth_of_the_disk_or_half_of_what_is_free() -> None:
    def cap_bytes(whole: int, free: int, kept: int) -> int:
        disk = Disk(Use(whole * GIB, MANY), Use(free * GIB, MANY))
        return room.cap(disk, Use(kept * GIB, 0), (None, None)).size_bytes

    assert cap_bytes(1000, 900, 0) == 4 * GIB
    assert cap_bytes(20, 19, 0) == 2 * GIB
    assert cap_bytes(1000, 2, 0) == GIB
    assert cap_bytes(1000, 2, 4) == 3 * GIB


def test_what_the_user_says_is_kept_whatever_the_disk() -> None:
    disk = Disk(Use(1, 1), Use(0, 0))
    assert room.cap(disk, room.NOTHING, (5, 7)) == Use(5, 7)


@given(uses, uses, uses, uses, uses)
def test_what_is_lacking_is_just_enough(need: Use, whole: Use, free: Use, busy: Use, most: Use) -> None:
    lacking = room.lacking(need, Disk(whole, free), busy, most)
    after = Disk(whole, free.plus(lacking))
    assert room.lacking(need, after, busy, most) == room.NOTHING
    if room.is_roomy(need, Disk(whole, free)):
        assert lacking == room.NOTHING
    for missing, needed, there in zip(lacking, need, free, strict=True):
        assert missing or needed <= there


@given(st.lists(st.tuples(uses, st.booleans())), uses)
def test_the_oldest_go_first_no_more_than_must_and_none_in_use(kept: list[tuple[Use, bool]], most: Use) -> None:
    class Item:
        def __init__(self, use: Use, in_use: bool) -> None:
            self.use, self.in_use = use, in_use

    items = [Item(use, in_use) for use, in_use in kept]
    whole = room.total(item.use for item in items)
    removed: list[Item] = []

    def remove(item: Item) -> bool:
        if not item.in_use:
            removed.append(item)
        return not item.in_use

    gone = room.remove_until(lambda gone: whole.less(gone).fits(most), items, remove)
    assert gone == room.total(item.use for item in removed)
    idle = [item for item in items if not item.in_use]
    assert removed == idle[: len(removed)]
    assert whole.less(gone).fits(most) or removed == idle
    if removed:
        assert not whole.less(room.total(item.use for item in removed[:-1])).fits(most)


def test_the_least_recently_used_bundle_goes_first_and_never_one_in_use(tmp_path: Path) -> None:
    store = Store(str(tmp_path), cap_bytes=3500)
    first, second, third = (receive_other(store, number) for number in range(3))
    for number, root in enumerate((first, second, third)):
        os.utime(root.place, (number, number))
    second.hold()
    store.find(first.bundle, OWN)
    fourth = receive_other(store, 4)
    assert {root.bundle for root in store.roots()} == {first.bundle, second.bundle, fourth.bundle}
    assert not os.path.exists(third.place)
    os.utime(second.place, (0, 0))
    os.utime(first.place, (1, 1))
    receive_other(store, 5, 2000)
    assert second in store.roots()
    assert first not in store.roots()
    os.utime(second.place, (0, 0))
    second.release()
    receive_other(store, 6, 3000)
    assert second not in store.roots()


def test_a_bundle_larger_than_what_may_be_kept_is_there_until_it_is_released(tmp_path: Path) -> None:
    store = Store(str(tmp_path), cap_bytes=3500)
    manifest, chunks = other_bundle(1, 4000)
    partial = begin(store, *bundle_of(*manifest.entries))
    for digest, data in chunks.items():
        partial.admit(Digest(digest), [data])
    root = store.commit(partial)
    assert store.find(root.bundle, OWN) is root
    root.release()
    assert store.find(root.bundle, OWN) is None
    assert os.listdir(tmp_path / "roots") == os.listdir(tmp_path / "trash") == []


def test_a_start_removes_what_is_beyond_the_cap(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    roots = [receive_other(store, number) for number in range(5)]
    for number, root in enumerate(roots):
        os.utime(root.place, (number, number))
    Store(str(tmp_path), cap_bytes=2500)
    assert sorted(os.listdir(tmp_path / "roots")) == sorted(os.path.basename(os.fsdecode(r.place)) for r in roots[3:])


def test_a_removed_bundles_chunks_are_forgotten(tmp_path: Path) -> None:
    store = Store(str(tmp_path), cap_bytes=1500)
    receive_other(store, 1)
    receive_other(store, 2)
    (digest,) = other_bundle(1)[1]
    assert store.read(Digest(digest)) is None
    assert os.listdir(tmp_path / "trash") == []


def test_on_a_small_disk_a_bundle_takes_the_place_of_those_that_nobody_uses(small_disk: Path) -> None:
    store = Store(str(small_disk))
    for number in range(4):
        receive_other(store, number, 2 * MIB)
    assert len(os.listdir(small_disk / "roots")) <= 1


def test_a_bundle_that_the_disk_cannot_take_is_refused_before_anything_is_written_or_removed(small_disk: Path) -> None:
    store = Store(str(small_disk), cap_bytes=GIB)
    kept = receive_other(store, 1)
    with pytest.raises(StoreError, match=r"no room for a bundle of 4\.0M in 1 files.*make room there"):
        receive_other(store, 2, 4 * MIB)
    assert store.find(kept.bundle, OWN) is kept
    assert os.listdir(small_disk / "drafts") == []


def test_a_tenth_of_the_disk_stays_free_if_a_bundle_is_larger_than_what_may_be_kept(small_disk: Path) -> None:
    store = Store(str(small_disk), cap_bytes=MIB)
    with pytest.raises(StoreError, match="a tenth of it is not used beyond --store-size"):
        receive_other(store, 1, 2_900_000)
    receive_other(store, 1, 2 * MIB)
    receive_other(Store(str(small_disk), cap_bytes=GIB), 2, 2_900_000)


def test_a_disk_that_others_fill_meanwhile_is_a_clear_error_and_nothing_stays_in_their_way(small_disk: Path) -> None:
    store = Store(str(small_disk), cap_bytes=GIB)
    kept = receive_other(store, 1)
    data = os.urandom(2 * MIB)
    partial = begin(store, *bundle_of(file_of(b"/gproc-test", data)))
    (small_disk / "others").write_bytes(bytes(2 * MIB))
    with pytest.raises(StoreError, match=r"No space left.*the disk of the store .* is full; make room there"):
        for digest, chunk in cut(data).items():
            partial.admit(Digest(digest), [chunk])
    store.abandon(partial)
    assert os.listdir(small_disk / "drafts") == os.listdir(small_disk / "trash") == []
    assert store.find(kept.bundle, OWN) is kept


def test_what_a_user_has_in_a_store_stays_within_the_quota_and_others_keep_theirs(tmp_path: Path) -> None:
    """`payer_of` says for whom a bundle is received: on a relay and the master all bundles have the same owner."""
    store = Store(str(tmp_path), quota=Use(2500, MANY))
    payers = iter((4711, 4712, 4711, 4711, 4711))
    store.payer_of = lambda _: next(payers)
    first, others, second, third = (receive_other(store, number) for number in range(4))
    assert {root.bundle for root in store.roots()} == {others.bundle, second.bundle, third.bundle}
    assert first not in store.roots()
    again = Store(str(tmp_path), quota=Use(2500, MANY))
    again.payer_of = lambda _: 4711
    held = [again.held(root.bundle, OWN) for root in (second, third)]
    assert all(held)
    with pytest.raises(StoreError, match=r"more than uid 4711 may have in a store: .* and jobs use"):
        receive_other(again, 5)
    again.payer_of = lambda _: 4712
    receive_other(again, 6)


def test_files_count_as_bytes_do_and_root_has_no_quota(tmp_path: Path) -> None:
    store = Store(str(tmp_path), quota=room.quota(None, 2))
    store.payer_of = lambda _: 4711
    with pytest.raises(StoreError, match=r"the policy allows 2 files"):
        begin(store)
    store.payer_of = lambda _: 0
    receive_other(store, 1)
