"""A name may have a leading dash, blanks, newlines, colons, and bytes that are no UTF-8; `--` ends the switches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

NAMES = [b"-x", b"--help", b"new\nline", b"1:", b"\xff\xfe", b"'\"$(x)`*?", b"x" * 255]
MORE_NAMES = [
    b"-", b"a b", b" lead", b"trail ", b"a:b", b":", b"1-80", b"\x1b[2J", b"\\", b"caf\xc3\xa9", b"...", b"~", b"%s",
]  # fmt: skip
ANY_NAME = pytest.mark.parametrize(
    "name", [*NAMES, *(pytest.param(name, marks=pytest.mark.stress) for name in MORE_NAMES)],
    ids=lambda name: ascii(name[:20]),
)  # fmt: skip


@ANY_NAME
def test_a_source_and_what_is_in_it(tree: Cluster, place: Path, name: bytes) -> None:
    top = place / os.fsdecode(name)
    (top / os.fsdecode(name)).mkdir(parents=True)
    (top / os.fsdecode(name) / os.fsdecode(name)).write_text("x")
    (place / "there").mkdir()
    done = tree.command("cp", "--", os.fsdecode(name), f"1:{place}/there/", cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    parts = (os.fsdecode(name),) * 3
    assert place.joinpath("there", *parts).read_text() == "x"
    done = tree.command("get", "--", f"1:{place}/{os.fsdecode(name)}", "home", cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    assert place.joinpath("home", "1", *parts).read_text() == "x"


@ANY_NAME
def test_a_destination_on_nodes_and_a_directory_at_home(tree: Cluster, place: Path, name: bytes) -> None:
    (place / "file").write_text("x")
    done = tree.command("cp", "file", f"1:{place}/{os.fsdecode(name)}", cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    there = place / os.fsdecode(name)
    assert there.read_text() == "x"
    there.unlink()
    done = tree.command("get", "--", f"1:{place}/file", os.fsdecode(name), cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (there / "1" / "file").read_text() == "x"


@pytest.mark.parametrize("name", [b"new\nline", b"\xff", b"\x1b[2J"], ids=ascii)
@pytest.mark.parametrize("verb", ["cp", "get"])
def test_a_failure_is_one_line_that_no_terminal_obeys(tree: Cluster, place: Path, name: bytes, verb: str) -> None:
    missing = f"{place}/{os.fsdecode(name)}"
    words = ("--", missing, f"1:{place}/x") if verb == "cp" else (f"1:{missing}", str(place / "home"))
    done = tree.command(verb, *words)
    assert done.returncode == 1
    first = done.stderr.splitlines()[0]
    assert first.endswith(b": No such file or directory")
    assert b"\x1b" not in done.stderr
    (place / os.fsdecode(name)).write_text("a file where the directory should be")
    done = tree.command("get", "1:/etc/hostname", missing)
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1
    assert b"\x1b" not in done.stderr


def test_two_dashes_end_the_switches_and_only_the_first_two(tree: Cluster, place: Path) -> None:
    (place / "--").write_text("x")
    (place / "there").mkdir()
    done = tree.command("cp", "--", "--", f"1:{place}/there", cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (place / "there" / "--").read_text() == "x"


@pytest.mark.parametrize("words", [("cp", "1:/f", "out"), ("cp", "./.:/f", "out"), ("cp", "1-4:/a:b", "-x", "out")])
def test_a_copy_the_wrong_way_round_is_told_the_other_verb(tree: Cluster, words: tuple[str, ...]) -> None:
    done = tree.command(words[0], "--", *words[1:])
    assert done.returncode == 2
    assert f"gproc get {words[1]} out" in done.stderr.decode()


def test_a_copy_from_node_to_node_says_what_cp_takes(tree: Cluster, place: Path) -> None:
    done = tree.command("cp", "1:/etc/hostname", f"2:{place}/x")
    assert done.returncode == 1
    assert "1:/etc/hostname: No such file or directory" in done.stderr.decode()
    assert "gproc get" in done.stderr.decode()
