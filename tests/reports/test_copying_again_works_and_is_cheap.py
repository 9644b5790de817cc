"""The same copy a second time: over every mode that the first one left, as root and as a user, and for little."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES
from tests.system.cluster import NOBODY, Cluster

WHO = pytest.mark.parametrize("uid", [None, NOBODY], ids=["root", "user"])


def run(tree: Cluster, *words: str, uid: int | None) -> None:
    if uid is not None and os.geteuid() != 0:
        pytest.skip("needs root: slaves that become other users")
    done = tree.command(*words, uid=uid)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    assert done.stderr == b""


def owned(place: Path, uid: int | None) -> Path:
    (place / "his").mkdir()
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", place / "his"], check=True)
    return place / "his"


def every_mode(top: Path, uid: int | None) -> None:
    """A directory and a file in it of each mode in which the caller can read them."""
    for bits in range(0o1000):
        readable = uid is None or bits & 0o400
        if readable and (uid is None or bits & 0o100):
            (top / f"d{bits:03o}").mkdir(parents=True)
            (top / f"d{bits:03o}" / "file").write_text("x")
        elif readable:
            (top / f"d{bits:03o}").mkdir(parents=True)  # it can be listed, and must be empty
        if readable:
            (top / f"f{bits:03o}").write_text(f"{bits}")
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", top], check=True)
    for path in top.iterdir():
        path.chmod(int(path.name[1:], 8))
    top.chmod(0o555)


def modes(top: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(top)): (path.stat().st_mode, path.stat().st_mtime_ns) for path in top.rglob("*")}


@WHO
def test_every_mode_is_copied_over_itself(tree: Cluster, place: Path, uid: int | None) -> None:
    every_mode(place / "source", uid)
    his = owned(place, uid)
    for _ in range(2):
        run(tree, "cp", f"{place}/source/.", f"1:{his}/there", uid=uid)
        run(tree, "get", f"1:{place}/source", f"{his}/home", uid=uid)
    assert modes(his / "there") == modes(place / "source")
    assert modes(his / "home" / "1" / "source") == modes(place / "source")


@WHO
@pytest.mark.parametrize("verb", ["cp", "get"])
def test_a_change_goes_into_directories_and_over_files_that_are_read_only(
    tree: Cluster, place: Path, uid: int | None, verb: str
) -> None:
    source = place / "source"
    (source / "deep").mkdir(parents=True)
    for path in (source / "one", source / "deep" / "two"):
        path.write_text("old")
    his = owned(place, uid)

    def closed() -> None:
        for path in (source / "one", source / "deep" / "two"):
            path.chmod(0o444)
        for path in (source / "deep", source):
            path.chmod(0o555)

    def copy() -> Path:
        if verb == "cp":
            run(tree, "cp", f"{source}/.", f"1:{his}/there", uid=uid)
            return his / "there"
        run(tree, "get", f"1:{source}", f"{his}/home", uid=uid)
        return his / "home" / "1" / "source"

    closed()
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", source], check=True)
    copy()
    for path in (source, source / "deep"):
        path.chmod(0o755)
    (source / "one").chmod(0o644)
    (source / "one").write_text("new")
    (source / "deep" / "three").write_text("three")
    (source / "deep" / "three").chmod(0o444)
    closed()
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", source], check=True)
    there = copy()
    assert ((there / "one").read_text(), (there / "deep" / "three").read_text()) == ("new", "three")
    assert modes(there) == modes(source)
    assert stat.S_IMODE(there.stat().st_mode) == 0o555
    assert not list(there.rglob(".gproc-*"))


@WHO
def test_what_is_there_already_keeps_its_inode(tree: Cluster, place: Path, uid: int | None) -> None:
    source = place / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("x")
    (source / "sub" / "large").write_bytes(os.urandom(3 * CHUNK_BYTES))
    (source / "link").symlink_to("file")
    os.mkfifo(source / "pipe")
    his = owned(place, uid)

    def inodes() -> dict[str, int]:
        return {str(path.relative_to(his)): path.lstat().st_ino for path in (his / "there").rglob("*")}

    run(tree, "cp", str(source), f"1:{his}/there", uid=uid)
    before = inodes()
    run(tree, "cp", f"{source}/.", f"1:{his}/there", uid=uid)
    assert inodes() == before


@WHO
def test_a_file_that_has_not_changed_is_not_fetched_again(tree: Cluster, place: Path, uid: int | None) -> None:
    """The copy keeps its inode: one that travels is a new file."""
    source = place / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "large").write_bytes(os.urandom(3 * CHUNK_BYTES + 5))
    (source / "sub" / "holes").write_bytes(b"begin")
    os.truncate(source / "sub" / "holes", 50 * CHUNK_BYTES)
    (source / "one").write_bytes(os.urandom(10_000))
    os.link(source / "one", source / "two")
    for path in source.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    his = owned(place, uid)

    def fetched() -> dict[str, tuple[int, bytes]]:
        run(tree, "get", f"1-2:{source}", f"{his}/home", uid=uid)
        files = [path for path in (his / "home").rglob("*") if path.is_file()]
        return {str(path.relative_to(his / "home")): (path.stat().st_ino, path.read_bytes()) for path in files}

    before = fetched()
    assert len(before) == 8
    assert fetched() == before
    assert modes(his / "home" / "1" / "source") == modes(his / "home" / "2" / "source") == modes(source)
    (source / "sub" / "large").chmod(0o640 if uid is None else 0o644)
    after = fetched()
    assert {name: data for name, (_, data) in after.items()} == {name: data for name, (_, data) in before.items()}
    assert modes(his / "home" / "1" / "source") == modes(source)
    assert (his / "home" / "1" / "source" / "sub" / "holes").stat().st_blocks < 100


@pytest.mark.parametrize("which", ["there", "here", "gone here", "another node's"])
def test_a_file_that_has_changed_is_fetched_again(tree: Cluster, place: Path, which: str) -> None:
    source = place / "source"
    source.write_bytes(b"old" * 10_000)
    run(tree, "get", f"1-2:{source}", f"{place}/home", uid=None)
    copy = place / "home" / "1" / "source"
    if which == "there":
        source.write_bytes(b"new" * 10_000)
    elif which == "here":
        copy.write_bytes(b"mad" * 10_000)
    else:
        copy.unlink()
        if which == "gone here":
            copy.mkdir()
            copy.rmdir()
    run(tree, "get", f"1-2:{source}", f"{place}/home", uid=None)
    assert copy.read_bytes() == (place / "home" / "2" / "source").read_bytes() == source.read_bytes()
