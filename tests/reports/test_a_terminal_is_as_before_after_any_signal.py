"""A signal that is not passed on, as from an alarm around the command, left the terminal raw: `stty sane`, unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.system.cluster import Cluster
from tests.system.detached import detached
from tests.system.screen import Screen

SIGNALS = [signal.SIGALRM, signal.SIGXCPU, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGRTMIN]


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_a_lent_terminal_is_given_back(tree: Cluster, signum: signal.Signals) -> None:
    screen = Screen(tree, "-t", "1", "/bin/sh", "-c", "echo ready; sleep 1000")
    try:
        screen.shows("ready")
        screen.process.send_signal(signum)
        assert screen.ends() == -signum  # checks the terminal
    finally:
        screen.close()
    tree.nothing_runs()


@pytest.mark.parametrize("signum", [signal.SIGALRM, signal.SIGTERM], ids=lambda signum: signum.name)
@pytest.mark.parametrize("switches", [(), ("-n",)], ids=["with input", "without"])
def test_so_is_one_that_looks_at_a_job(tree: Cluster, switches: tuple[str, ...], signum: signal.Signals) -> None:
    """With -n, a signal is for the command that looks."""
    detached(tree, "--name=looked-at", "1", "/bin/sh", "-c", "while sleep 0.1; do echo tick; done")
    screen = Screen(tree, "looked-at", *switches, mode="attach")
    try:
        screen.shows("tick")
        screen.process.send_signal(signum)
        screen.ends()
    finally:
        screen.close()
        tree.command("kill", "looked-at")
        tree.command("wait", "looked-at")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGALRM], ids=lambda signum: signum.name)
def test_a_question_for_a_passphrase_leaves_the_echo(tree: Cluster, tmp_path: Path, signum: signal.Signals) -> None:
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "gproc", "key", "backup", str(tmp_path / "keys")],
        env=tree.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    seen = b""
    while b"assphrase" not in seen:
        seen += os.read(ours, 4096)
    process.send_signal(signum)
    assert process.wait() == -signum
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
