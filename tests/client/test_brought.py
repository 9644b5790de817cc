"""The files that a job brings back, from nodes that are not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.client.brought import BroughtBack
from gproc.copy.steps import (
    ITSELF,
    End,
    Folder,
    HardLink,
    Leaf,
    Leave,
    Step,
    SymlinkStep,
    Whole,
    data_header,
    not_sent,
    step_frame,
)
from gproc.request.outcome import Killed, Lost, Outcome, Returned

NODES = ((1, 7), (2,), (3,))
FINE: Outcome = Returned(0)


def leaf(name: bytes, size_bytes: int = 0) -> Leaf:
    return Leaf(name, 0o644, 0, 0, 10**18, size_bytes)


def folder(name: bytes) -> Folder:
    return Folder(name, 0o755, 0, 0, 10**18)


def wire(*items: Step | bytes) -> bytes:
    return b"".join(data_header(len(item)) + item if isinstance(item, bytes) else step_frame(item) for item in items)


def told(
    home: Path, streams: list[bytes], globs: tuple[bytes, ...] = (b"out/*",), outcomes: list[Outcome] | None = None
) -> tuple[int, list[str]]:
    brought = BroughtBack(str(home), globs)
    brought.begin(NODES[: len(streams)])
    for rank, stream in enumerate(streams):
        brought.output(rank, memoryview(stream))
    brought.finish()
    return brought.conclude(dict(enumerate(outcomes or [FINE] * len(streams))))


def test_files_that_match_are_in_the_nodes_own_directory(tmp_path: Path) -> None:
    stream = wire(folder(b"out"), leaf(b"a", 2), b"hi", Whole(), Leave(), End())
    assert told(tmp_path, [stream, stream]) == (0, [])
    assert (tmp_path / "1.7/out/a").read_text() == (tmp_path / "2/out/a").read_text() == "hi"


@pytest.mark.parametrize(
    "steps",
    [
        (leaf(b"profile"), Whole()),
        (folder(b"other"), leaf(b"a"), Whole(), Leave()),
        (folder(ITSELF), folder(b"out"), leaf(b"a"), Whole(), Leave(), Leave()),
        (folder(b"out"), folder(b"deeper"), leaf(b"a"), Whole(), Leave(), Leave()),
        (SymlinkStep(b"out", b"/etc", 0, 0, 0),),
        (HardLink(b"x", 1, True),),
        (Leave(), folder(b"out")),
    ],
    ids=["file", "directory", "itself", "deeper", "link", "hard link", "way out"],
)
def test_what_was_not_asked_for_is_not_taken(tmp_path: Path, steps: tuple[Step, ...]) -> None:
    status, lines = told(tmp_path, [wire(*steps, End())])
    assert status == 125
    assert lines[0].startswith("=1/7: it sent something else than files, so the rest is dropped: ")
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == []


def test_a_link_in_the_way_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "home/1.7").mkdir(parents=True)
    (tmp_path / "home/1.7/out").symlink_to(tmp_path / "outside")
    status, lines = told(tmp_path / "home", [wire(folder(b"out"), leaf(b"a"), Whole(), Leave(), End())])
    assert (status, len(lines)) == (125, 1)
    assert os.listdir(tmp_path / "outside") == []


def test_what_nothing_matches_is_said_once_for_all_nodes(tmp_path: Path) -> None:
    some = wire(folder(b"out"), leaf(b"a"), Whole(), Leave(), End())
    assert told(tmp_path, [wire(End()), some, wire(End())]) == (
        0, ["3,=1/7: nothing to collect: the job wrote no file that matches out/*"],
    )  # fmt: skip


def test_what_a_node_could_not_send_is_named_and_a_failure(tmp_path: Path) -> None:
    stream = wire(not_sent("out/b: Input/output error\x1b[2J"), End())
    assert told(tmp_path, [stream, stream, wire(End())]) == (125, [
        "2,=1/7: out/b: Input/output error\\x1b[2J",
        "3: nothing to collect: the job wrote no file that matches out/*",
    ])  # fmt: skip


def test_a_stream_that_is_cut_off_is_a_failure_only_if_the_program_ran_to_its_end(tmp_path: Path) -> None:
    cut = wire(folder(b"out"), leaf(b"a", 2), b"h")
    outcomes: list[Outcome] = [FINE, Killed(9, True), Lost("gone")]
    status, lines = told(tmp_path, [cut, cut, cut], outcomes=outcomes)
    assert (status, lines) == (125, ["=1/7: its files stopped coming before the end; those that arrived are complete"])
    assert not (tmp_path / "1.7/out/a").exists()
