"""A large file's copy is the store's own file under a further name, but every process sees it as a file of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES
from tests.system.cluster import NOBODY, Cluster

BIG = 3 * CHUNK_BYTES + 5


def copied(tree: Cluster, *words: str, uid: int | None = None) -> None:
    done = tree.command("cp", *words, uid=uid)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture
def big(place: Path) -> Path:
    path = place / "big"
    path.write_bytes(os.urandom(BIG))
    path.chmod(0o644)
    return path


def test_it_lies_once_on_the_nodes_disk(tree: Cluster, place: Path, big: Path) -> None:
    copied(tree, str(big), f"1:{place}/there")
    facts, was = (place / "there").stat(), big.stat()
    assert facts.st_nlink == 2
    assert (facts.st_mode, facts.st_uid, facts.st_mtime_ns) == (was.st_mode, was.st_uid, was.st_mtime_ns)
    assert (place / "there").read_bytes() == big.read_bytes()


def test_two_copies_are_two_files(tree: Cluster, place: Path, big: Path) -> None:
    copied(tree, str(big), f"1:{place}/one")
    copied(tree, str(big), f"1:{place}/two")
    assert (place / "one").stat().st_ino != (place / "two").stat().st_ino
    (place / "same").mkdir()
    (place / "source").mkdir()
    for name in ("a", "b"):
        subprocess.run(["cp", "-a", big, place / "source" / name], check=True)
    copied(tree, f"{place}/source/a", f"{place}/source/b", f"1:{place}/same")
    assert (place / "same" / "a").stat().st_ino != (place / "same" / "b").stat().st_ino


@pytest.mark.parametrize("set_back", [False, True], ids=["its time tells", "its time is set back"])
def test_what_is_written_to_a_copy_comes_into_no_other_copy(
    tree: Cluster, place: Path, big: Path, set_back: bool
) -> None:
    copied(tree, str(big), f"1:{place}/one")
    with (place / "one").open("r+b") as file:
        file.write(b"changed in place")
    if set_back:
        when_ns = big.stat().st_mtime_ns
        os.utime(place / "one", ns=(when_ns, when_ns))
    copied(tree, str(big), f"1:{place}/two")
    assert (place / "two").read_bytes() == big.read_bytes()
    assert (place / "one").read_bytes()[:16] == b"changed in place"


def test_a_copy_that_was_written_to_is_put_right_by_the_next_one(tree: Cluster, place: Path, big: Path) -> None:
    copied(tree, str(big), f"1:{place}/one")
    with (place / "one").open("r+b") as file:
        file.write(b"changed in place")
    copied(tree, str(big), f"1:{place}/one")
    assert (place / "one").read_bytes() == big.read_bytes()


@pytest.mark.parametrize("other", ["mode", "attribute", "owner", "set-id"])
def test_a_file_that_the_stores_own_cannot_be_is_copied(tree: Cluster, place: Path, big: Path, other: str) -> None:
    if other == "mode":
        big.chmod(0o244)
    elif other == "attribute":
        os.setxattr(big, "user.note", b"n")
    elif os.geteuid() != 0:
        pytest.skip("needs root: owners, set-id bits")
    elif other == "owner":
        os.chown(big, 1234, 4321)
    else:
        big.chmod(0o4755)
    copied(tree, str(big), f"1:{place}/there")
    facts, was = (place / "there").stat(), big.stat()
    assert (facts.st_mode, facts.st_uid, facts.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
    assert os.listxattr(place / "there") == os.listxattr(big)
    assert (place / "there").read_bytes() == big.read_bytes()


@pytest.mark.usefixtures("root_only")
def test_a_users_copy_is_linked_too_and_is_his_own(tree: Cluster, place: Path, big: Path) -> None:
    (place / "his").mkdir()
    os.chown(place / "his", NOBODY, NOBODY)
    copied(tree, str(big), f"1:{place}/his/there", uid=NOBODY)
    facts = (place / "his" / "there").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_nlink) == (NOBODY, NOBODY, 2)


@pytest.mark.usefixtures("root_only")
def test_on_another_file_system_than_the_stores_it_is_copied(tree: Cluster, big: Path) -> None:
    there = Path("/dev/shm") / f"gproc-test-{os.getpid()}"
    if not os.path.ismount("/dev/shm"):
        pytest.skip("needs a second file system: /dev/shm")
    try:
        copied(tree, str(big), f"1:{there}")
        assert there.stat().st_nlink == 1
        assert there.read_bytes() == big.read_bytes()
    finally:
        there.unlink(missing_ok=True)


def stored_bytes(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


def test_the_master_passes_a_large_copy_on_and_keeps_nothing_of_it(tree: Cluster, place: Path) -> None:
    source = place / "source"
    source.write_bytes(os.urandom(20 * CHUNK_BYTES))
    before = stored_bytes(tree.place / "store-m")
    (place / "there").mkdir()
    first = tree.begin("cp", str(source), f"./.:{place}/there/one")
    second = tree.begin("cp", str(source), f"./.:{place}/there/two")
    assert tree.finish(first) == tree.finish(second) == (0, "", "")
    for name in ("one", "two"):
        assert (place / "there" / name).read_bytes() == source.read_bytes()
    assert stored_bytes(tree.place / "store-m") == before


def test_a_large_copy_whose_client_is_killed_ends_and_the_next_one_is_whole(tree: Cluster, place: Path) -> None:
    source = place / "source"
    source.write_bytes(bytes(8) + os.urandom(200 * CHUNK_BYTES))
    process = tree.begin("cp", str(source), f"./.:{place}/there")
    stores = list(tree.place.glob("s*/store"))
    before = sum(map(stored_bytes, stores))
    while sum(map(stored_bytes, stores)) == before and process.poll() is None:
        pass
    process.kill()
    tree.finish(process)
    tree.nothing_runs()
    copied(tree, str(source), f"./.:{place}/there")
    assert (place / "there").read_bytes() == source.read_bytes()


def test_a_large_tree_of_many_files_comes_whole_through_a_relay(
    place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("relayed") / "c")
    cluster.start_master()
    rack = cluster.slaves_at_once(2)[0]
    cluster.slaves_at_once(3, parent=rack)
    source = place / "source"
    source.mkdir()
    for number in range(60):
        (source / str(number)).write_bytes(os.urandom(CHUNK_BYTES + 1))
    (place / "there").mkdir()
    copied(cluster, f"{source}/.", f"./.:{place}/there")
    subprocess.run(["diff", "-r", source, place / "there"], check=True)
    cluster.stop_behind_a_relay()
