"""Holes, hard links, attributes, access lists, FIFOs, sockets, devices, nanoseconds: lost by no copy without a word."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.system.cluster import NOBODY, Cluster

GIB = 1 << 30


def run(tree: Cluster, *words: str, uid: int | None = None) -> None:
    done = tree.command(*words, uid=uid) if uid is not None else tree.command(*words)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    assert done.stderr == b""


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """As the kernel keeps it: version 2, then tag, rights, id of each: linux/posix_acl_xattr.h."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODYS = 0xFFFF_FFFF
LIST = access_list((1, 7, NOBODYS), (2, 5, 1234), (4, 5, NOBODYS), (0x10, 5, NOBODYS), (0x20, 0, NOBODYS))
"""The owner rwx, user 1234 and the group r-x, others nothing."""


def with_holes(path: Path) -> Path:
    """3 GiB, of which 12 KiB in three places are data; it ends in a hole."""
    with path.open("wb") as file:
        for at in (0, GIB, 2 * GIB):
            file.seek(at)
            file.write(os.urandom(4096))
        file.truncate(3 * GIB)
    return path


def test_a_hole_of_three_gib_costs_nothing_on_the_node_and_nothing_at_home(tree: Cluster, place: Path) -> None:
    source = with_holes(place / "disk")
    run(tree, "cp", str(source), f"1:{place}/there")
    run(tree, "get", f"1:{place}/there", str(place / "home"))
    stores = [tree.place / "store-m", *tree.place.glob("s*/store")]
    assert sum(path.stat().st_blocks for store in stores for path in store.rglob("*") if path.is_file()) < 2048
    for copy in (place / "there", place / "home" / "1" / "there"):
        facts = copy.stat()
        assert (facts.st_size, facts.st_blocks) == (3 * GIB, source.stat().st_blocks)
        with source.open("rb") as one, copy.open("rb") as other:
            for at in (0, GIB, 2 * GIB):
                assert os.pread(one.fileno(), 8192, at) == os.pread(other.fileno(), 8192, at)
    inode = (place / "there").stat().st_ino
    run(tree, "cp", str(source), f"1:{place}/there")
    assert (place / "there").stat().st_ino == inode


@pytest.mark.parametrize("parts", [(1, 0), (0, 1), (1, 0, 1), (0, 40, 0), (0,), (17, 0, 33, 0)], ids=str)
def test_holes_at_any_place_of_a_file_stay_where_they_are(tree: Cluster, place: Path, parts: tuple[int, ...]) -> None:
    """parts: MiB of data each, 0 for a hole of 1 MiB."""
    source = place / "source"
    with source.open("wb") as file:
        for part in parts:
            file.write(os.urandom(part << 20)) if part else file.seek(1 << 20, os.SEEK_CUR)
        file.truncate()
    run(tree, "cp", str(source), f"1:{place}/there")
    run(tree, "get", f"1:{source}", str(place / "home"))
    for copy in (place / "there", place / "home" / "1" / "source"):
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_blocks == source.stat().st_blocks


def test_a_file_of_ten_thousand_holes_keeps_nearly_all_of_them(tree: Cluster, place: Path) -> None:
    source = place / "source"
    with source.open("wb") as file:
        for number in range(10_000):
            file.seek(number * 8192)
            file.write(b"x")
    run(tree, "cp", str(source), f"1:{place}/there")
    run(tree, "get", f"1:{source}", str(place / "home"))
    for copy in (place / "there", place / "home" / "1" / "source"):
        subprocess.run(["cmp", source, copy], check=True)
        assert copy.stat().st_blocks < 1.7 * source.stat().st_blocks


def test_names_of_one_file_stay_names_of_one_file(tree: Cluster, place: Path) -> None:
    source = place / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "b").write_text("one")
    os.link(source / "b", source / "a")
    os.link(source / "b", source / "deep" / "er" / "c")
    (source / "link").symlink_to("b")
    os.link(source / "link", source / "deep" / "other link", follow_symlinks=False)
    os.link(source / "b", place / "outside")
    run(tree, "cp", str(source), f"{place}/outside", f"1:{place}")  # onto itself: nothing is to be done
    (place / "there").mkdir()
    for _ in range(2):  # and again
        run(tree, "cp", str(source), f"{place}/outside", f"1:{place}/there")
        run(tree, "get", f"1:{source}", str(place / "home"))
        for copy, count in ((place / "there", 4), (place / "home" / "1", 3)):
            names = [copy / "source" / name for name in ("a", "b", "deep/er/c")]
            assert {path.stat().st_ino for path in names} == {names[0].stat().st_ino}
            assert names[0].stat().st_nlink == count
            links = [copy / "source" / "link", copy / "source" / "deep" / "other link"]
            assert links[0].lstat().st_ino == links[1].lstat().st_ino
            assert os.readlink(links[1]) == "b"
        assert (place / "there" / "outside").samefile(place / "there" / "source" / "a")


def test_a_further_name_of_a_file_that_could_not_be_copied_is_named(tree: Cluster, place: Path) -> None:
    source = place / "source"
    source.mkdir()
    (source / "a").write_text("one")
    os.link(source / "a", source / "b")
    (place / "there" / "a").mkdir(parents=True)
    (place / "there" / "b").write_text("old")
    done = tree.command("cp", f"{source}/.", f"1:{place}/there")
    assert done.returncode == 1
    assert f"{place}/there/b: is another name of a file that was not copied" in done.stderr.decode()
    assert (place / "there" / "b").read_text() == "old"


def attributed(source: Path) -> None:
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("x")
    for path in (source / "file", source / "sub"):
        os.setxattr(path, "user.note", b"\0any\xff")
        os.setxattr(path, "user.empty", b"")
        os.setxattr(path, "system.posix_acl_access", LIST)
    os.setxattr(source / "sub", "system.posix_acl_default", LIST)
    (source / "sub" / "plain").write_text("x")
    os.removexattr(source / "sub" / "plain", "system.posix_acl_access")
    (source / "sub" / "plain").chmod(0o640)


def attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


@pytest.mark.parametrize("uid", [None, NOBODY])
def test_attributes_and_access_lists_come_to_the_node_and_user_attributes_come_back(
    tree: Cluster, place: Path, uid: int | None
) -> None:
    if uid is not None and os.geteuid() != 0:
        pytest.skip("needs root: slaves that become other users")
    (place / "his").mkdir()
    source, there = place / "his" / "source", place / "his" / "there"
    attributed(source)
    there.mkdir()
    os.setxattr(there, "system.posix_acl_default", LIST)  # what a copy would inherit, and must not
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", place / "his"], check=True)
    for _ in range(2):
        run(tree, "cp", str(source), f"1:{there}", uid=uid)
        run(tree, "get", f"1:{source}", f"{place}/his/home", uid=uid)
        home = place / "his" / "home" / "1" / "source"
        for name in ("file", "sub", "sub/plain", "."):
            assert attributes(there / "source" / name) == attributes(source / name), name
            assert (there / "source" / name).stat().st_mode == (source / name).stat().st_mode
            assert attributes(home / name) == {
                key: value for key, value in attributes(source / name).items() if key.startswith("user.")
            }


def test_an_attribute_that_changed_is_brought_up_to_date(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    os.setxattr(place / "file", "user.note", b"old")
    run(tree, "cp", f"{place}/file", f"1:{place}/there")
    os.setxattr(place / "file", "user.note", b"new")
    run(tree, "cp", f"{place}/file", f"1:{place}/there")
    assert attributes(place / "there") == {"user.note": b"new"}
    os.removexattr(place / "file", "user.note")
    run(tree, "cp", f"{place}/file", f"1:{place}/there")
    assert attributes(place / "there") == {}


@pytest.mark.usefixtures("root_only")
def test_an_attribute_that_a_nodes_file_system_refuses_is_named_and_the_file_is_there(
    place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (place / "ram").mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", place / "ram"], check=True)
    cluster = Cluster(tmp_path_factory.mktemp("refusing") / "c")
    try:
        cluster.start_master()
        cluster.slave(1)  # which sees what was mounted before
        (place / "file").write_text("x")
        os.setxattr(place / "file", "user.note", b"n")
        done = cluster.command("cp", f"{place}/file", f"1:{place}/ram/")
        assert done.stderr.decode().splitlines() == [
            f"gproc: 1: {place}/ram/file: its attribute user.note was refused: Operation not supported",
            "gproc: 1: not everything was copied",
        ]
        assert done.returncode == 1
        done = cluster.command("get", f"1:{place}/ram/file", str(place / "home"))
        assert (done.returncode, (place / "home" / "1" / "file").read_text()) == (0, "x")
    finally:
        cluster.stop()
        subprocess.run(["umount", place / "ram"], check=True)


@pytest.mark.usefixtures("root_only")
def test_roots_attributes_travel_to_nodes_and_never_home(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # CAP_NET_BIND_SERVICE: capabilities(7)
    os.setxattr(place / "file", "trusted.note", b"t")
    os.setxattr(place / "file", "security.capability", capability)
    (place / "link").symlink_to("file")
    os.setxattr(place / "link", "trusted.note", b"l", follow_symlinks=False)
    (place / "there").mkdir()
    run(tree, "cp", f"{place}/file", f"{place}/link", f"1:{place}/there/")
    assert attributes(place / "there" / "file") == {"trusted.note": b"t", "security.capability": capability}
    assert attributes(place / "there" / "link") == {"trusted.note": b"l"}
    run(tree, "get", f"1:{place}/file", str(place / "home"))
    assert attributes(place / "home" / "1" / "file") == {}


def test_fifos_and_sockets_are_made_anew_on_the_node(tree: Cluster, place: Path) -> None:
    source = place / "source"
    source.mkdir()
    os.mkfifo(source / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        old = os.getcwd()
        os.chdir(source)
        listener.bind("socket")
        os.chdir(old)
    os.utime(source / "pipe", ns=(10**18, 10**18 + 1))
    run(tree, "cp", str(source), f"1:{place}/there")
    inodes = [(place / "there" / name).stat().st_ino for name in ("pipe", "socket")]
    run(tree, "cp", f"{source}/.", f"1:{place}/there")
    assert [(place / "there" / name).stat().st_ino for name in ("pipe", "socket")] == inodes
    assert stat.S_ISFIFO((place / "there" / "pipe").stat().st_mode)
    assert stat.S_ISSOCK((place / "there" / "socket").stat().st_mode)
    facts = (place / "there" / "pipe").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (0o640, 10**18 + 1)


@pytest.mark.usefixtures("root_only")
def test_devices_are_made_for_root_alone(tree: Cluster, place: Path) -> None:
    os.mknod(place / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (place / "null").chmod(0o620)
    run(tree, "cp", f"{place}/null", f"1:{place}/there")
    facts = (place / "there").stat()
    assert (facts.st_mode, facts.st_rdev) == (0o620 | stat.S_IFCHR, os.makedev(1, 3))
    (place / "his").mkdir()
    os.chown(place / "his", NOBODY, NOBODY)
    done = tree.command("cp", f"{place}/null", f"1:{place}/his/null", uid=NOBODY)
    assert done.returncode == 1
    assert f"gproc: 1: {place}/his/null: Operation not permitted" in done.stderr.decode()
    done = tree.command("get", f"1:{place}/null", str(place / "home"))
    assert done.returncode == 1
    assert f"gproc: 1: {place}/null: is a character device" in done.stderr.decode()


@pytest.mark.parametrize("when_ns", [10**18 + 123456789, -1, 1, 2**31 * 10**9 + 999_999_999], ids=str)
def test_times_are_kept_to_the_nanosecond(tree: Cluster, place: Path, when_ns: int) -> None:
    (place / "source" / "sub").mkdir(parents=True)
    (place / "source" / "file").write_text("x")
    (place / "source" / "link").symlink_to("file")
    (place / "source" / "hole").touch()
    os.truncate(place / "source" / "hole", 1 << 20)
    for name in ("file", "link", "hole", "sub", "."):
        os.utime(place / "source" / name, ns=(when_ns, when_ns), follow_symlinks=False)
    run(tree, "cp", f"{place}/source", f"1:{place}/there")
    run(tree, "get", f"1:{place}/there", str(place / "home"))
    for copy in (place / "there", place / "home" / "1" / "there"):
        for name in ("file", "link", "hole", "sub", "."):
            assert (copy / name).lstat().st_mtime_ns == (place / "source" / name).lstat().st_mtime_ns
