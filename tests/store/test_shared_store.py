"""Several processes on one store, as the slaves of one machine: none loses what another does, ends or removes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.store.store import Store
from tests.store.neighbour import neighbours
from tests.store.samples import OWN, other_bundle, receive_other

MIB = 1 << 20
SIZE = 3 * MIB + 1
"""Four chunks."""


def kept(place: Path) -> int:
    return len(os.listdir(place / "roots"))


def test_two_processes_that_fetch_the_same_bundle_at_once_both_get_it_and_one_is_kept(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 2) as (one, other):
        assert one.ask("begin", 1, SIZE) == other.ask("begin", 1, SIZE) == "4"
        for _ in range(4):
            one.ask("admit", 1, SIZE)
            other.ask("admit", 1, SIZE)
        assert len(os.listdir(tmp_path / "drafts")) == 2
        assert one.ask("commit", 1, SIZE) == "held"
        assert other.ask("commit", 1, SIZE) == "held"
        assert one.ask("read", 1, SIZE) == other.ask("read", 1, SIZE) == "whole"
        assert one.ask("release", 1, SIZE) == other.ask("release", 1, SIZE) == "released"
        assert one.ask("hold", 1, SIZE) == other.ask("hold", 1, SIZE) == "held"
    assert kept(tmp_path) == 1
    assert os.listdir(tmp_path / "drafts") == []
    Store(str(tmp_path))
    assert os.listdir(tmp_path / "trash") == []


def test_what_one_process_received_another_need_not_receive(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 2) as (one, other):
        one.receive(1, SIZE)
        assert other.ask("hold", 1, SIZE) == "held"
        assert other.ask("begin", 1, SIZE) == "0"


def test_a_bundle_that_another_process_uses_is_not_removed_and_goes_when_it_is_released(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 2, cap_bytes=SIZE) as (user, other):
        user.receive(1, SIZE)
        other.receive(2, SIZE)
        assert kept(tmp_path) == 2
        assert other.ask("release", 2, SIZE) == "released"
        assert kept(tmp_path) == 1
        assert user.ask("read", 1, SIZE) == "whole"
        assert other.ask("hold", 2, SIZE) == "none"
        assert user.ask("release", 1, SIZE) == "released"
        assert user.ask("hold", 1, SIZE) == "held"


def test_a_process_that_has_a_removed_bundle_in_memory_does_without_it(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 1, cap_bytes=SIZE) as (other,):
        store = Store(str(tmp_path), cap_bytes=SIZE)
        root = receive_other(store, 1, SIZE)
        assert store.find(root.bundle, OWN) is root
        other.receive(2, SIZE)
        assert not os.path.exists(root.place)
        assert store.held(root.bundle, OWN) is None
        with pytest.raises(OSError):
            root.hold()
        assert receive_other(store, 1, SIZE).bundle == root.bundle


def test_a_process_that_is_killed_as_it_receives_leaves_a_draft_that_another_goes_on_with(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 2) as (victim, other):
        assert victim.ask("begin", 1, SIZE) == "4"
        assert victim.ask("admit", 1, SIZE) == "3"
        victim.kill()
        assert other.ask("begin", 1, SIZE) == "3"
        assert len(os.listdir(tmp_path / "drafts")) == 1
        other.receive(1, SIZE)
        assert other.ask("read", 1, SIZE) == "whole"


def test_what_a_killed_process_left_counts_as_kept_and_goes_first(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 1) as (victim,):
        victim.ask("begin", 1, SIZE)
        victim.kill()
    store = Store(str(tmp_path), cap_bytes=2 * SIZE - 1)
    assert len(os.listdir(tmp_path / "drafts")) == 1
    receive_other(store, 2, SIZE)
    assert os.listdir(tmp_path / "drafts") == []
    assert kept(tmp_path) == 1


def test_a_draft_of_a_running_process_stays_however_little_may_be_kept(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 1) as (receiver,):
        receiver.ask("begin", 1, SIZE)
        store = Store(str(tmp_path), cap_bytes=1)
        receive_other(store, 2, SIZE)
        assert kept(tmp_path) == 0
        assert [receiver.ask("admit", 1, SIZE) for _ in range(4)] == ["3", "2", "1", "0"]
        assert receiver.ask("commit", 1, SIZE) == "held"


def test_a_job_that_uses_a_bundle_when_its_process_is_killed_does_not_keep_it(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 1) as (user,):
        user.receive(1, SIZE)
        Store(str(tmp_path), cap_bytes=1)
        assert kept(tmp_path) == 1
    Store(str(tmp_path), cap_bytes=1)
    assert kept(tmp_path) == 0


def test_a_file_that_another_process_gave_further_names_is_hashed_again_and_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    root = receive_other(store, 1)
    assert store.find(root.bundle, OWN) is root
    (file,) = root.manifest.files()
    os.link(root.tree + file.path, root.place + b"/name")
    assert store.find(root.bundle, OWN) is root
    info = os.stat(root.tree + file.path)
    with open(root.tree + file.path, "r+b") as changed:
        changed.write(b"?")
    os.utime(root.tree + file.path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert store.find(root.bundle, OWN) is None


@pytest.mark.slow
def test_many_processes_that_receive_and_remove_at_once_end_within_the_cap_and_lose_nothing(tmp_path: Path) -> None:
    with neighbours(str(tmp_path), 4, cap_bytes=3 * MIB) as others:

        def together(word: str, turn: int) -> set[str]:
            """Each two of them with the same bundle."""
            for number, each in enumerate(others):
                each.tell(word, turn * 2 + number % 2, MIB)
            return {each.answer() for each in others}

        for turn in range(8):
            assert together("begin", turn) == {"1"}
            assert together("admit", turn) == {"0"}
            assert together("commit", turn) == {"held"}
            assert together("read", turn) == {"whole"}
            assert together("release", turn) == {"released"}
            assert kept(tmp_path) <= 3
            assert together("hold", turn) == {"held"}
            assert together("release", turn) == {"released"}
    assert os.listdir(tmp_path / "drafts") == []


def test_bundles_that_are_equal_in_part_share_chunks_across_processes(tmp_path: Path) -> None:
    assert other_bundle(1, SIZE)[1].keys() & other_bundle(1, MIB)[1].keys()
    with neighbours(str(tmp_path), 2) as (one, other):
        one.receive(1, SIZE)
        assert other.ask("begin", 1, MIB) == "0"
