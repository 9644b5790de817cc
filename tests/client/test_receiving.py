"""Whatever a node sends: it makes files in that node's own directory, or none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproc.client.complaints import LINES_MAX, LINES_SURE, TEXT_BYTES_MAX, Complaints
from gproc.client.receiving import Collected
from gproc.copy.metadata import FROM_NODES
from gproc.copy.steps import (
    DEPTH_MAX,
    ITSELF,
    End,
    Extent,
    Folder,
    HardLink,
    Hole,
    Leaf,
    Leave,
    Same,
    Special,
    Step,
    SymlinkStep,
    Torn,
    Whole,
    data_header,
    step_frame,
)
from gproc.nodespec import Path as NodePath
from gproc.request.outcome import Returned

NODE: NodePath = (1, 7)


def folder(name: bytes, mode: int = 0o755) -> Folder:
    return Folder(name, mode, os.geteuid(), os.getegid(), 10**18)


def leaf(name: bytes, size_bytes: int = 3, mode: int = 0o644) -> Leaf:
    return Leaf(name, mode, os.geteuid(), os.getegid(), 10**18, size_bytes)


def link(name: bytes, target: bytes) -> SymlinkStep:
    return SymlinkStep(name, target, os.geteuid(), os.getegid(), 10**18)


def encoded(*stream: Step | bytes) -> bytes:
    return b"".join(data_header(len(item)) + item if isinstance(item, bytes) else step_frame(item) for item in stream)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with a neighbour: nothing beside `home/1.7` may ever change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    (tmp_path / "home").mkdir()
    yield tmp_path / "home"
    assert os.listdir(tmp_path / "outside") == ["file"]
    assert (tmp_path / "outside" / "file").read_text() == "mine"
    assert set(os.listdir(tmp_path)) == {"outside", "home"}
    assert set(os.listdir(home_of(tmp_path))) <= {"1.7"}


def home_of(place: Path) -> Path:
    return place / "home"


def received(home: Path, wire: bytes) -> tuple[bool, list[str]]:
    """Whether it came to its end, and what a person is told."""
    collected = Collected(str(home))
    collected.begin((NODE,))
    collected.output(0, "stdout", memoryview(wire))
    collected.finish()
    return collected.is_whole(0), collected.complaints.told({0: Returned(0)}, "")[1]


def test_a_tree_goes_into_its_nodes_own_directory(home: Path) -> None:
    whole, told = received(
        home,
        encoded(
            folder(b"tree"), leaf(b"one"), b"1", b"23", Whole(), link(b"l", b"/etc/passwd"), folder(b"sub", 0o500),
            leaf(b"empty", 0), Whole(), Leave(), Leave(), End(),
        ),
    )  # fmt: skip
    assert (whole, told) == (True, [])
    tree = home / "1.7" / "tree"
    assert (tree / "one").read_bytes() == b"123"
    assert (tree / "sub" / "empty").read_bytes() == b""
    assert os.readlink(tree / "l") == "/etc/passwd"
    assert stat.S_IMODE((tree / "sub").stat().st_mode) == 0o500
    assert tree.stat().st_mtime_ns == 10**18


@pytest.mark.parametrize(
    "stream",
    [
        (Leave(),),
        (folder(b"a"), Leave(), Leave()),
        (folder(b"a"), folder(ITSELF)),
        (b"xyz",),
        (leaf(b"f"), b"xyzz"),
        (leaf(b"f"), b"xy", Whole()),
        (leaf(b"f", 2**62), b"xy", Whole()),
        (leaf(b"f"), Leave()),
        (leaf(b"f"), folder(b"a")),
        (leaf(b"f"), leaf(b"g")),
        (leaf(b"f"), End()),
        (folder(b"a"), End()),
        (Whole(),),
        (Torn(),),
        (End(), End()),
        (End(), leaf(b"f", 0), Whole()),
        (Special(b"d", stat.S_IFCHR, 0o666, 0, 0, 0, 1, 3),),
        (Special(b"p", stat.S_IFIFO, 0o666, 0, 0, 0),),
        (Same(),),
        (leaf(b"f"), b"x", Same()),
        (leaf(b"f"), Hole(3), Same()),
        (Hole(3),),
        (leaf(b"f"), Hole(4)),
        (leaf(b"f"), b"xy", Hole(2)),
        (leaf(b"f"), Hole(2), Whole()),
        (leaf(b"f"), Extent(3, b"content", 0)),
        (leaf(b"f"), Hole(3), Hole(1)),
        tuple(folder(b"d") for _ in range(DEPTH_MAX + 10)),
    ],
    ids=str,
)
def test_a_malformed_stream_is_dropped_with_its_unfinished_file(
    home: Path, stream: tuple[Step | bytes, ...]
) -> None:
    whole, told = received(home, encoded(*stream))
    assert not whole
    assert "the rest is dropped" in told[0]
    assert not any(path.is_file() for path in home.rglob("*"))
    assert not list(home.rglob(".gproc-*"))


@pytest.mark.parametrize("there", ["nothing", "shorter", "newer", "a link", "a directory"])
def test_a_node_that_says_that_a_file_is_here_is_not_believed(home: Path, there: str) -> None:
    (home / "1.7").mkdir()
    path = home / "1.7" / "f"
    if there == "a link":
        path.symlink_to("../../outside/file")
    elif there == "a directory":
        path.mkdir()
    elif there != "nothing":
        path.write_bytes(b"own" if there == "newer" else b"o")
        os.utime(path, ns=(10**18, 10**18 + (there == "newer")))
    _, told = received(home, encoded(leaf(b"f"), Same(), leaf(b"g"), b"abc", Whole(), End()))
    assert "1.7/f: " in told[0]
    assert (home / "1.7" / "g").read_bytes() == b"abc"
    assert {path.name for path in (home / "1.7").iterdir()} <= {"f", "g"}
    if there in ("shorter", "newer"):
        assert path.read_bytes().startswith(b"o")


def test_a_file_that_is_here_gets_the_nodes_mode_but_no_set_id_bits(home: Path) -> None:
    (home / "1.7").mkdir()
    path = home / "1.7" / "f"
    path.write_bytes(b"own")
    os.utime(path, ns=(10**18, 10**18))
    assert received(home, encoded(leaf(b"f", 3, 0o6711), Same(), End())) == (True, [])
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"own", 0o711)


@pytest.mark.parametrize("target", [b"../../outside", b"../../outside/file", b"/", b"."])
def test_a_link_is_never_followed_whatever_comes_after_it(home: Path, target: bytes) -> None:
    through = (link(b"x", target), folder(b"x"), leaf(b"file"), b"bad", Whole(), Leave())
    stopped = (leaf(b"x"), b"bad", Whole())
    _, told = received(home, encoded(*through, *stopped, End()))
    assert any("a directory cannot replace it" in line for line in told)
    assert (home / "1.7" / "x").read_bytes() == b"bad"
    assert not (home / "1.7" / "x").is_symlink()


def test_a_link_in_the_place_of_the_nodes_own_directory_is_not_followed(home: Path) -> None:
    (home / "1.7").symlink_to("../outside")
    _, told = received(home, encoded(leaf(b"file"), b"bad", Whole(), End()))
    assert told == [f"=1/7: {home}/1.7: not a directory", "=1/7: not everything was copied"]


def test_set_id_bits_are_not_taken_from_a_node(home: Path) -> None:
    received(home, encoded(folder(b"d", 0o7777), leaf(b"f", 0, 0o6755), Whole(), Leave(), End()))
    assert stat.S_IMODE((home / "1.7" / "d" / "f").stat().st_mode) == 0o755
    assert stat.S_IMODE((home / "1.7" / "d").stat().st_mode) == 0o1777


@pytest.mark.parametrize(
    ("source", "stream"),
    [
        (b"/etc/asked", (leaf(b"other"), b"bad", Whole())),
        (b"/etc/asked", (leaf(b"asked"), b"abc", Whole(), leaf(b"other"), b"bad", Whole())),
        (b"/etc/asked", (leaf(b"asked"), b"abc", Whole(), leaf(b"asked"), b"bad", Whole())),
        (b"/etc/asked", (link(b"other", b"/x"),)),
        (b"/etc/asked", (folder(b"."), leaf(b"other"), b"bad", Whole(), Leave())),
        (b"/etc/asked/", (folder(b"other"), Leave())),
        (b"/etc/.", (leaf(b"other"), b"bad", Whole())),
    ],
)
def test_what_a_node_was_not_asked_for_is_not_taken(
    home: Path, source: bytes, stream: tuple[Step | bytes, ...]
) -> None:
    """It could replace what an earlier command has brought from there."""
    (home / "1.7").mkdir()
    (home / "1.7" / "other").write_text("mine")
    collected = Collected(str(home), source)
    collected.begin((NODE,))
    collected.output(0, "stdout", memoryview(encoded(*stream, End())))
    collected.finish()
    assert collected.was_dropped(0)
    assert (home / "1.7" / "other").read_text() == "mine"
    assert {path.name: path.read_text() for path in (home / "1.7").iterdir()} in (
        {"other": "mine"}, {"other": "mine", "asked": "abc"}
    )  # fmt: skip


@pytest.mark.parametrize("source", [b"/etc/asked", b"/etc/asked//", b"asked"])
def test_what_a_node_was_asked_for_is_taken(home: Path, source: bytes) -> None:
    collected = Collected(str(home), source)
    collected.begin((NODE,))
    wire = encoded(folder(b"asked"), leaf(b"below"), b"abc", Whole(), Leave(), End())
    collected.output(0, "stdout", memoryview(wire))
    collected.finish()
    assert collected.is_whole(0)
    assert (home / "1.7" / "asked" / "below").read_text() == "abc"


def test_a_torn_file_is_dropped_and_the_rest_is_kept(home: Path) -> None:
    whole, _ = received(home, encoded(leaf(b"torn", 9), b"abc", Torn(), leaf(b"good"), b"abc", Whole(), End()))
    assert whole
    assert os.listdir(home / "1.7") == ["good"]


def test_a_stream_that_breaks_off_leaves_whole_files_alone(home: Path) -> None:
    whole, _ = received(home, encoded(leaf(b"good"), b"abc", Whole(), leaf(b"half", 9), b"abc"))
    assert not whole
    assert os.listdir(home / "1.7") == ["good"]


def test_a_complaint_of_two_nodes_is_shown_once_and_moves_no_cursor(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path))
    collected.begin(((1,), (2,), (3,)))
    for rank in (0, 1):
        collected.output(rank, "stderr", memoryview(b"/x: Permission"))
        collected.output(rank, "stderr", memoryview(b" denied\n/\x1b[2J\xff"))
    collected.finish()
    status, told = collected.complaints.told({0: Returned(1), 1: Returned(1), 2: Returned(0)}, "")
    assert status == 1
    assert told == ["1-2: /x: Permission denied", "1-2: /\\x1b[2J\\xff", "1-2: not everything was copied"]


def test_the_complaints_of_one_node_are_bounded(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path))
    collected.begin(((1,),))
    for number in range(3000):
        collected.output(0, "stderr", memoryview(b"complaint %d\n" % number))
    collected.output(0, "stderr", memoryview(b"x" * 1_000_000))
    collected.finish()
    _, told = collected.complaints.told({0: Returned(1)}, "")
    assert len(told) == LINES_MAX + 2
    assert max(map(len, told)) < 10_000


def test_nodes_that_complain_much_do_not_hide_the_complaints_of_others() -> None:
    complaints = Complaints()
    complaints.begin([(rank,) for rank in range(1, 12)])
    for number in range(LINES_MAX):
        for rank in range(10):
            complaints.add(rank, f"{rank} {number} " + "x" * 8000)
    complaints.add(10, "one")
    complaints.finish()
    _, told = complaints.told({rank: Returned(1) for rank in range(11)}, "")
    assert "11: one" in told
    assert sum(map(len, told)) < TEXT_BYTES_MAX + 11 * LINES_SURE * 8100


HOSTILE = ((b"security.capability", b"x" * 20), (b"trusted.x", b"y"), (b"system.posix_acl_access", b"z"))
"""Attributes that stand for rights."""


def test_attributes_that_stand_for_rights_are_left_out_and_those_of_users_are_set(home: Path) -> None:
    given = (*HOSTILE, (b"user.note", b"n"))
    file = msgspec.structs.replace(leaf(b"f", 0), attributes=given)
    whole, told = received(home, encoded(folder(b"d"), file, Whole(), Leave(given), End()))
    assert (whole, told) == (True, [])
    for path in (home / "1.7" / "d", home / "1.7" / "d" / "f"):
        assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == {"user.note": b"n"}


def test_a_file_that_could_only_be_a_hole_too_long_for_this_disk_is_named_and_the_rest_comes(home: Path) -> None:
    whole, told = received(
        home, encoded(leaf(b"huge", 2**63 - 1), Hole(2**63 - 1), Whole(), leaf(b"good"), b"abc", Whole(), End())
    )
    assert whole
    assert len(told) == 2
    assert "huge: " in told[0]
    assert os.listdir(home / "1.7") == ["good"]


def test_more_files_with_further_names_than_the_bound_are_not_remembered(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gproc.client.receiving.FROM_NODES", FROM_NODES._replace(numbered_max=2))
    numbered = [msgspec.structs.replace(leaf(b"f%d" % n, 0), number=n) for n in (1, 2, 3)]
    stream = [step for each in numbered for step in (each, Whole())]
    whole, told = received(home, encoded(*stream, HardLink(b"l", 3, True), HardLink(b"m", 2, True), End()))
    assert whole
    assert "f3: too many files have further names" in told[0]
    assert "l: is another name of a file that was not copied" in told[1]
    assert sorted(os.listdir(home / "1.7")) == ["f1", "f2", "m"]


few = st.sampled_from([b"a", b"b", b"c"])
hostile = st.lists(
    st.one_of(
        st.builds(folder, st.sampled_from([b"a", b"b", ITSELF])),
        st.builds(link, few, st.sampled_from([b"../../outside", b"..", b"/", b"a", b"../../outside/file"])),
        st.builds(leaf, few, st.integers(0, 3)),
        st.builds(leaf, few, st.integers(0, 3)).map(lambda step: msgspec.structs.replace(step, number=1)),
        st.builds(HardLink, few, st.integers(1, 2), st.booleans()),
        st.builds(Hole, st.sampled_from([1, 3, 2**62])),
        st.sampled_from([Leave(), Leave(HOSTILE), Whole(), Torn(), Same(), End(), b"x", b"xy", b"xyz"]),
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(stream=hostile)
def test_no_sequence_of_steps_leads_out_of_the_nodes_directory(home: Path, stream: list[Step | bytes]) -> None:
    received(home, encoded(*stream))
    assert set(os.listdir(home)) <= {"1.7"}
    assert (home.parent / "outside" / "file").read_text() == "mine"
    assert os.listdir(home.parent / "outside") == ["file"]
    assert not list(home.rglob(".gproc-*"))
