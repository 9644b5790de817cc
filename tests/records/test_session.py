"""The master's session on disk: what a crash leaves, what a clean end leaves, and which sessions no master
continues."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.records.session import FILE, LEASES_S, NUMBERS, MasterSession
from gproc.trust.ticket import ENDED_MAX

CLUSTER, BOOT = "cluster", "boot"


def session(place: Path, *, cluster: str = CLUSTER, boot: str = BOOT, now_s: float = 1000.0) -> MasterSession:
    return MasterSession(str(place), cluster, boot, lambda: now_s)


def test_after_a_crash_the_session_its_clock_and_its_numbers_go_on(tmp_path: Path) -> None:
    first = session(tmp_path)
    used = [first.number() for _ in range(NUMBERS + 10)]
    assert (first.found, first.run, used) == (False, 1, list(range(1, NUMBERS + 11)))
    second = session(tmp_path, now_s=1030.0)
    assert (second.found, second.id, second.run) == (True, first.id, 2)
    assert second.number() > used[-1]
    assert second.clock_ms() == first.clock_ms() + 30_000


def test_the_end_of_all_leases_is_known_after_a_crash(tmp_path: Path) -> None:
    first = session(tmp_path)
    for until_s in (1060.0, 1061.0, 1080.0):
        first.lends(until_s)
    ends_s = session(tmp_path).former_leases_end_s
    assert 1080.0 <= ends_s <= 1080.0 + LEASES_S


def test_a_clean_end_begins_another_session_and_the_last_ones_that_ended_are_named(tmp_path: Path) -> None:
    ended: list[bytes] = []
    for _ in range(ENDED_MAX + 2):
        one = session(tmp_path)
        assert one.found is False
        assert one.ended == tuple(ended[-ENDED_MAX:])
        one.end()
        ended.append(one.id)
    assert len(set(ended)) == len(ended)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"cluster": "another"}, {"now_s": 10.0}], ids=str)
def test_another_start_of_the_machine_and_another_cluster_have_a_session_of_their_own(
    tmp_path: Path, change: dict[str, str]
) -> None:
    first = session(tmp_path)
    first.lends(5000.0)
    other = session(tmp_path, **change)  # type: ignore[arg-type]
    assert (other.found, other.former_leases_end_s) == (False, 0.0)
    assert other.id != first.id


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cluster": "cluster", "session": {"id": "AAAA"}}'])
def test_a_file_that_is_none_begins_a_new_session(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert session(tmp_path).found is False
    assert session(tmp_path).found is True


def test_numbers_that_could_not_be_reserved_on_the_disk_are_not_used_by_another_master(tmp_path: Path) -> None:
    first = session(tmp_path)
    os.mkdir(tmp_path / f"{FILE}.new")  # no process can write there now
    for _ in range(NUMBERS + 1):
        first.number()
    assert not (tmp_path / FILE).exists()
    (tmp_path / f"{FILE}.new").rmdir()
    assert session(tmp_path).found is False


@pytest.mark.parametrize("crashed", [True, False])
def test_a_master_that_could_not_listen_leaves_no_session_behind(tmp_path: Path, crashed: bool) -> None:
    """The next one said that it went on after a crash."""
    former = session(tmp_path) if crashed else None
    session(tmp_path).undo()
    following = session(tmp_path)
    assert following.found is crashed
    assert former is None or (following.id, following.run) == (former.id, 2)
