"""`gproc top`, driven by keys on a terminal of 80 columns and 24 lines, over a real tree."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from textual.widgets import DataTable, Label, RichLog, Static, Tree

from gproc.client import watching
from gproc.client.watching import Watching
from gproc.top.app import Confirmation, JobScreen, NodeScreen, TopApp
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("top") / "c")
    cluster.start_master()
    cluster.slave(1)
    cluster.slave(2)
    yield cluster
    cluster.stop()


async def until(pilot: Any, holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s
        await pilot.pause(0.05)


def driven(tree: Cluster, drive: Callable[[TopApp, Any], Any]) -> None:
    """Run the application, and the keys that `drive` presses."""

    async def run() -> None:
        watching = Watching(str(tree.socket))
        app = TopApp(watching, str)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.look.tree is not None)
            await drive(app, pilot)
        watching.close()

    asyncio.run(run())


def test_ctrl_c_ends_it_on_every_screen(tree: Cluster) -> None:
    """It did nothing but to say which other key would."""

    async def drive(app: TopApp, pilot: Any) -> None:
        await until(pilot, lambda: len(app.query_one("#tree", Tree).root.children) == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.return_code is not None)
        assert app.return_code == 130

    driven(tree, drive)


def test_nodes_are_a_tree_and_enter_shows_one(tree: Cluster) -> None:
    async def drive(app: TopApp, pilot: Any) -> None:
        shown = app.query_one("#tree", Tree)
        await until(pilot, lambda: len(shown.root.children) == 2)
        assert [str(node.label).split()[:3:2] for node in shown.root.children] == [["1", "up"], ["2", "up"]]
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, NodeScreen))
        facts = str(app.screen.query_one("#facts", Static).render())
        assert "State           up" in facts
        await pilot.press("escape")
        assert not isinstance(app.screen, NodeScreen)

    driven(tree, drive)


def test_a_job_is_found_its_output_read_and_it_is_killed_after_a_question(tree: Cluster) -> None:
    line = "echo said; exec sleep 1000"
    job = tree.exec("-d", "1-2", "/bin/sh", "-c", line).stdout.split()[-1].decode()

    async def drive(app: TopApp, pilot: Any) -> None:
        table = app.query_one("#table", DataTable)
        await pilot.press("j")
        await until(pilot, lambda: any(key.value == job for key in table.rows))
        assert table.get_row_at(0)[0].plain == job, "the newest is the first"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JobScreen))
        log = app.screen.query_one("#log", RichLog)
        await until(pilot, lambda: sorted(strip.text.strip() for strip in log.lines) == ["1: said", "2: said"])
        await pilot.press("k", "n")
        assert tree.exec("1", "/bin/true").returncode == 0
        await pilot.press("k", "y")
        await until(pilot, lambda: sum("killed by SIGKILL" in strip.text for strip in log.lines) == 2)

    driven(tree, drive)
    assert tree.command("wait", job).returncode == 128 + signal.SIGKILL


def test_a_job_that_writes_without_a_pause_can_be_looked_at_and_left(tree: Cluster) -> None:
    """The view took no key any more, Ctrl-C neither."""
    number = tree.exec("-d", "-localbin", "1", "/usr/bin/yes").stdout.decode().strip()

    async def drive(app: TopApp, pilot: Any) -> None:
        await pilot.press("j")
        table = app.query_one("#table", DataTable)
        await until(pilot, lambda: number in [str(key.value) for key in table.rows])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JobScreen))
        log = app.screen.query_one("#log", RichLog)
        await until(pilot, lambda: len(log.lines) > 1000)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, JobScreen))

    try:
        driven(tree, drive)
    finally:
        tree.command("kill", number)


def test_a_question_is_whole_on_a_narrow_terminal(tree: Cluster) -> None:
    """At 40 columns, "(y/n)" was cut off."""
    number = tree.exec("-d", "-localbin", "1", "/bin/sleep", "1000").stdout.decode().strip()

    async def drive(app: TopApp, pilot: Any) -> None:
        await pilot.resize_terminal(40, 10)
        await pilot.press("j")
        table = app.query_one("#table", DataTable)
        await until(pilot, lambda: number in [str(key.value) for key in table.rows])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JobScreen))
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, Confirmation))
        label = app.screen.query_one(Label)
        await until(pilot, lambda: label.size.height > 0)
        assert app.screen.region.contains_region(label.region)
        assert label.size.height > 1

    try:
        driven(tree, drive)
    finally:
        tree.command("kill", number)


def test_a_node_that_dies_is_shown_down_with_its_reason(tree: Cluster) -> None:
    third = tree.slave(3)

    async def drive(app: TopApp, pilot: Any) -> None:
        shown = app.query_one("#tree", Tree)

        def state() -> str:
            return " ".join(str(node.label) for node in shown.root.children if node.data == "3")

        await until(pilot, lambda: "up" in state())
        tree.end(third, signal.SIGKILL)
        await until(pilot, lambda: "unreachable" in state() or "down" in state())
        assert app.look.tree is not None

    driven(tree, drive)


def test_a_master_that_is_gone_is_said(tree: Cluster) -> None:
    async def run() -> None:
        app = TopApp(Watching(f"{tree.socket}-none"), str)
        async with app.run_test(size=(80, 24)) as pilot:
            summary = app.query_one("#summary", Static)
            await until(pilot, lambda: f"{tree.socket}-none" in str(summary.render()))

    asyncio.run(run())


def test_a_master_that_was_stopped_left_the_view_as_it_was(tree: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HELLO_S", 1.0)

    async def drive(app: TopApp, pilot: Any) -> None:
        summary = app.query_one("#summary", Static)
        os.kill(tree.master.pid, signal.SIGSTOP)
        try:
            await until(pilot, lambda: f"kill -CONT {tree.master.pid} lets it go on" in str(summary.render()))
            await until(pilot, lambda: summary.size.height > 1)  # all of it is seen
        finally:
            os.kill(tree.master.pid, signal.SIGCONT)
        await until(pilot, lambda: "2 up" in str(summary.render()))

    driven(tree, drive)


def test_it_needs_a_terminal_and_its_master(tree: Cluster) -> None:
    command = [sys.executable, "-m", "gproc", "top", "-debug=3", "--socket", str(tree.socket)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **tree.env}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"shows the tree of the master at {tree.socket}" in done.stderr
    assert "this is none: use gproc i and gproc ps" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_view_that_is_ended_leaves_the_terminal_as_it_was(tree: Cluster, signum: signal.Signals) -> None:
    """The prompt stood in the middle of the old picture, and each move of the mouse typed something."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gproc", "top", "--socket", str(tree.socket)]
    environ = {**os.environ, **tree.env, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as view:
        os.close(theirs)
        drawn = b""
        while b"master" not in drawn:
            drawn += os.read(ours, 65536)
        view.send_signal(signum)
        while True:
            try:
                drawn += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert view.returncode == 128 + signum
    assert drawn.rfind(b"\x1b[?1049l") > drawn.rfind(b"\x1b[?1049h") >= 0, "the usual screen is shown again"
    assert drawn.rfind(b"\x1b[?1000l") > drawn.rfind(b"\x1b[?1000h")
