"""What a transfer shows: a bar on a terminal after more than a second, lines to programs, otherwise nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.cli import progress
from gproc.cli.get import ReceivedLine
from gproc.cli.progress import HowFar
from gproc.nodespec import Place
from gproc.request.spec import MIN_BROADCAST_BYTES
from tests.system.cluster import Cluster
from tests.transfer.payload import MIB, Payload
from tests.transfer.wiretap import Wiretap

HIDE_CURSOR = "\x1b[?25l"

SLOW_SIZE = 6 * MIB
SLOW_RATE = 3 * MIB
"""So that it takes two seconds."""


@pytest.fixture(scope="module")
def tap() -> Iterator[Wiretap]:
    with Wiretap() as tap:
        yield tap


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, tap: Wiretap) -> Iterator[Cluster]:
    """A master and node 1, behind a wiretap."""
    cluster = Cluster(tmp_path_factory.mktemp("progress") / "c")
    cluster.start_master()
    tap.target = cluster.port
    cluster.joined(cluster.launch_slave("--id=1", parent=tap.port), cluster.master)
    yield cluster
    tap.rate = 0
    cluster.stop_behind_a_relay()


@pytest.fixture
def payload(cluster: Cluster, tmp_path: Path) -> Payload:
    """One that no node has."""
    return Payload(tmp_path / "root", SLOW_SIZE)


def on_a_terminal(cluster: Cluster, payload: Payload, *switches: str) -> str:
    """What a person sees on stderr."""
    ours, theirs = pty.openpty()
    job = cluster.begin("e", *switches, *payload.words("1"), stderr=theirs, env={"TERM": "xterm"})
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the last one who had the terminal is gone, pty(7)
        while piece := os.read(ours, 4096):
            seen += piece
    os.close(ours)
    stdout, _ = job.communicate(timeout=30)
    assert (job.returncode, stdout.decode().startswith(payload.sum)) == (0, True)
    return seen.decode()


def test_a_terminal_sees_a_bar_when_it_takes_over_a_second(cluster: Cluster, tap: Wiretap, payload: Payload) -> None:
    tap.rate = SLOW_RATE
    seen = on_a_terminal(cluster, payload)
    for word in ("sending", "MiB", "0/1 nodes", "0:00:0"):
        assert word in seen
    assert seen.endswith("\x1b[2K") or "\x1b[2K" in seen.rpartition("nodes")[2], "the bar is left behind"
    assert seen.count(HIDE_CURSOR) == 1, "it is not taken away and put there again and again"


def test_a_terminal_sees_nothing_of_a_short_transfer(cluster: Cluster, tap: Wiretap, payload: Payload) -> None:
    tap.rate = 0
    assert on_a_terminal(cluster, payload) == ""


class Told(HowFar):
    def text(self) -> str:
        return "2 of 3 done"


def test_a_line_is_drawn_now_and_then_and_not_at_each_step_of_the_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "RUN_LINE_S", 1000.0)
    line = Told()
    assert line.tick() is None, "nothing runs yet"
    line.run_s = time.monotonic() - 10
    assert line.tick() is not None
    assert "2 of 3 done" in capsys.readouterr().err
    line.tick()
    assert capsys.readouterr().err == ""
    line.clear()
    assert "\x1b[K" in capsys.readouterr().err
    line.tick()
    assert capsys.readouterr().err == "", "output came, which is not a reason to draw it more often"


def test_files_that_come_from_one_node_or_many_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    line = ReceivedLine(lambda: 3 << 30)
    line.run([Place((1,))], None)
    assert re.fullmatch(r"received 3\.0G, \d+(\.\d)?[GMK]/s", line.text())
    line.run([Place((1,)), Place((2,)), Place((3,))], None)
    line.ended(1, False)
    assert line.text().endswith("/s; 1 of 3 done, 1 failed; still running: 1,3")


def test_programs_get_a_line_of_json_each_second_and_at_the_end(
    cluster: Cluster, tap: Wiretap, payload: Payload
) -> None:
    tap.rate = SLOW_RATE
    done = cluster.exec("--json-progress", *payload.words("1"))
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) >= 3
    assert all(set(line) == {"bytes", "total", "nodes", "complete", "rate", "left_s"} for line in lines)
    assert lines == sorted(lines, key=lambda line: line["bytes"])
    assert lines[-1]["bytes"] == lines[-1]["total"] > SLOW_SIZE
    assert [line["complete"] for line in lines] == [0] * (len(lines) - 1) + [1]


def test_without_terminal_or_switch_nothing_is_shown(cluster: Cluster, tap: Wiretap, payload: Payload) -> None:
    tap.rate = SLOW_RATE
    assert cluster.exec(*payload.words("1")).stderr == b""


def test_a_copy_tells_programs_the_same_in_lines_of_json(cluster: Cluster, tap: Wiretap, tmp_path: Path) -> None:
    payload = Payload(tmp_path / "root", MIN_BROADCAST_BYTES + MIB)
    tap.rate = SLOW_RATE
    done = cluster.command("cp", "--json-progress", str(payload.file), f"1:{payload.root}/copy")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) >= 2
    assert lines[-1]["bytes"] == lines[-1]["total"] >= SLOW_SIZE
    assert [line["complete"] for line in lines] == [0] * (len(lines) - 1) + [1]
    assert (payload.root / "copy").read_bytes() == payload.file.read_bytes()
