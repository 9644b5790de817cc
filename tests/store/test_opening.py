"""One store for each user of a machine, and what earlier versions left of theirs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from gproc.content.manifest import Digest
from gproc.errors import StoreError
from gproc.store.opening import open_store
from gproc.store.store import Store
from tests.store.samples import OWN, SOMEBODY, receive_other


def former(place: Path, *numbers: int) -> list[Digest]:
    """A store of one slave, as earlier versions made it."""
    store = Store(str(place))
    bundles = [receive_other(store, number).bundle for number in numbers]
    for root in (place / "roots").iterdir():
        (root / "use").unlink()
    (place / "lock").touch()
    return bundles


def test_all_processes_on_one_base_share_a_store(tmp_path: Path) -> None:
    first, second = open_store(str(tmp_path)), open_store(str(tmp_path))
    assert first.place == second.place == os.fsencode(tmp_path)
    root = receive_other(first, 1)
    assert second.find(root.bundle, OWN) is not None


def test_a_store_that_is_named_by_a_relative_path_has_its_bundles_at_absolute_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the slave joins, and every job on it fails: "a path must be absolute"."""
    monkeypatch.chdir(tmp_path)
    store = open_store("st/1")
    assert store.place == os.fsencode(tmp_path / "st" / "1")
    assert receive_other(store, 1).place.startswith(store.place)


def test_stores_of_an_earlier_version_are_taken_over_and_removed(tmp_path: Path) -> None:
    bundles = [
        *former(tmp_path / "0", 1, 2),
        *former(tmp_path / "1", 2, 3),
        *former(tmp_path / "master" / "0", 1, 4),
    ]
    store = open_store(str(tmp_path))
    store.finish_removals()
    assert all(store.find(bundle, OWN) is not None for bundle in bundles)
    assert sorted(os.listdir(tmp_path)) == ["drafts", "roots", "trash"]
    assert os.listdir(tmp_path / "trash") == []


def test_many_short_lived_slaves_of_an_earlier_version_leave_no_more_than_may_be_kept(tmp_path: Path) -> None:
    for number in range(64):
        former(tmp_path / str(number), number)
    store = open_store(str(tmp_path), cap_bytes=3500)
    store.finish_removals()
    assert len(os.listdir(tmp_path / "roots")) == 3
    assert sorted(os.listdir(tmp_path)) == ["drafts", "roots", "trash"]


def test_the_store_of_a_slave_of_an_earlier_version_that_still_runs_is_left_to_it(tmp_path: Path) -> None:
    former(tmp_path / "0", 1)
    with open(tmp_path / "0" / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        open_store(str(tmp_path))
        assert len(os.listdir(tmp_path / "0" / "roots")) == 1
    open_store(str(tmp_path))
    assert not (tmp_path / "0").exists()


def test_other_files_below_the_base_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runtimes").mkdir()
    (tmp_path / "7").mkdir()
    (tmp_path / "8" / "roots").mkdir(parents=True)
    open_store(str(tmp_path))
    assert {"runtimes", "7", "8"} < set(os.listdir(tmp_path))


@pytest.mark.parametrize("folder", ["roots", "drafts", "trash"])
def test_a_store_of_another_user_is_refused(tmp_path: Path, folder: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a directory away")
    os.mkdir(tmp_path / folder)
    os.chown(tmp_path / folder, *SOMEBODY)
    with pytest.raises(StoreError, match="belongs to another user"):
        open_store(str(tmp_path))


def test_a_place_where_no_directory_can_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name another place with --store"):
        open_store(str(tmp_path / "file"))
