"""Tables: readable on a narrow terminal, complete and plain in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.table import fold, render
from gproc.shown import shown_text

CELLS = st.text(max_size=40)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5)
HEAD = ("NODE", "JOBS", "WHY")


@given(ROWS)
def test_in_a_pipe_a_row_is_a_line_of_unchanged_cells_between_tabs(rows: list[tuple[str, str, str]]) -> None:
    lines = render(HEAD, rows, right=("JOBS",), width=None).split("\n")
    assert lines[0] == "NODE\tJOBS\tWHY"
    assert [line.split("\t") for line in lines[1:-1]] == [[shown_text(cell) for cell in row] for row in rows]


@given(ROWS, st.integers(40, 200))
def test_on_a_terminal_no_line_is_too_long_and_nothing_is_left_out(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    lines = render(HEAD, [(a, "1", c) for a, _, c in rows], right=("JOBS",), width=width).split("\n")
    assert all(len(line) <= width for line in lines)
    shown = sorted("".join("".join(lines).split()))
    wanted = "".join(HEAD) + "".join(shown_text(a) + "1" + shown_text(c) for a, _, c in rows)
    assert shown == sorted("".join(wanted.split()))


@given(st.text(min_size=1), st.integers(1, 20))
def test_a_folded_cell_is_the_cell(cell: str, width: int) -> None:
    pieces = list(fold(cell, width))
    assert all(len(piece) <= width for piece in pieces)
    assert "".join(pieces).replace(" ", "") == cell.replace(" ", "")


def test_a_long_path_is_folded_behind_a_slash() -> None:
    assert list(fold("/usr/lib/x86_64-linux-gnu/libc.so.6", 20)) == ["/usr/lib/x86_64-", "linux-gnu/libc.so.6"]


def test_a_name_cannot_send_escape_sequences_or_begin_a_line() -> None:
    assert render(("A",), [("\x1b[31m\n\t\udcff",)], width=None) == "A\n\\x1b[31m\\n\\t\\xff\n"


def bundle(tmp_path: Path, **environ: str) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "GPROC_HOME": str(tmp_path),
        **environ,
    }


COMMAND = [sys.executable, "-m", "gproc", "bundle", "date"]


def test_a_reader_that_takes_one_line_ends_gproc_bundle_with_141(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(COMMAND, stdout=writing, stderr=subprocess.PIPE, env=bundle(tmp_path))
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_colour_in_a_pipe_only_if_it_is_forced(tmp_path: Path) -> None:
    def shown(**environ: str) -> str:
        return subprocess.run(COMMAND, capture_output=True, text=True, env=bundle(tmp_path, **environ)).stdout

    assert "\x1b" not in shown(FORCE_COLOR="", NO_COLOR="")
    assert shown(FORCE_COLOR="1", NO_COLOR="").startswith("\x1b[1m")
    assert "\x1b" not in shown(FORCE_COLOR="1", NO_COLOR="1")


def test_on_a_terminal_of_60_columns_every_line_fits(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    environ = bundle(tmp_path, COLUMNS="60", NO_COLOR="1", TERM="xterm")
    process = subprocess.Popen(COMMAND, stdout=child, stdin=child, stderr=subprocess.PIPE, env=environ)
    os.close(child)
    text = b""
    try:
        while piece := os.read(parent, 65536):
            text += piece
    except OSError:  # EIO: the last writer has closed it
        pass
    process.communicate()
    os.close(parent)
    lines = text.decode().splitlines()
    assert process.returncode == 0
    assert lines[0].split() == ["FILE", "BYTES", "WHY"]
    assert max(map(len, lines)) <= 60
