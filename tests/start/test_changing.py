"""Commands that change the tree take turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.start.changing import changing, upgrading
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("words", [("start", "-w", "h1"), ("restart", "1"), ("remove", "1"), ("stop", "1"), ("stop",)])
def test_a_command_waits_for_the_one_that_changes_the_tree_and_names_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    """upgrade comes later to that: it waits for jobs without keeping others out.  The line is not held back."""
    tmp_path.chmod(0o700)
    command = [sys.executable, "-m", "gproc", words[0], f"--socket={tmp_path}/g", *words[1:]]
    environ = os.environ | {"GPROC_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with changing(str(tmp_path), "upgrade", lambda _: None):
        waiting = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert f"waits for gproc upgrade (process {os.getpid()} on " in waiting.stderr.readline()
        waiting.kill()
    waiting.communicate(timeout=PATIENCE_S)


def test_what_a_command_that_was_killed_has_left_keeps_nobody(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "starting.lock").write_text("gproc start (process 1 on elsewhere)")
    told: list[str] = []
    with changing(str(tmp_path), "stop", told.append):
        assert told == []


def test_a_second_upgrade_waits_for_the_first_one_and_does_not_wait_if_its_time_is_bounded(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    command = [sys.executable, "-m", "gproc", "upgrade", f"--socket={tmp_path}/g"]
    environ = os.environ | {"GPROC_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    other = f"gproc upgrade (process {os.getpid()} on "
    with upgrading(str(tmp_path), lambda _: None):
        done = subprocess.run([*command, "--timeout=60"], env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stderr.startswith(f"gproc: {other}")) == (125, True), done.stderr
        assert "try again later, or without --timeout, to wait for it" in done.stderr
        waiting = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert f"waits for {other}" in waiting.stderr.readline()
    assert "no master" in waiting.communicate(timeout=PATIENCE_S)[1], "it had its turn"


def test_an_upgrade_that_waits_for_jobs_keeps_no_start_waiting(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    told: list[str] = []
    with upgrading(str(tmp_path), told.append), changing(str(tmp_path), "start", told.append):
        assert told == []
