"""With `ulimit -n 20` a master took connections and closed them; neither it nor the slave that waited said so."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

SAID = "ulimit -Hn allows 20 open files, and with fewer than 64 connections are closed without a word: raise it"


def test_a_master_and_a_slave_say_at_the_start_that_they_may_open_too_few_files(tmp_path: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("needs prlimit(1)")
    cluster = Cluster(tmp_path / "tree")
    cluster.under = ("prlimit", "--nofile=20")
    cluster.start_master().says(SAID)
    slave = cluster.launch_slave()
    slave.says(SAID)
    slave.kill(signal.SIGKILL)
    slave.wait()
    cluster.forget(slave)
    cluster.stop()


def test_as_many_as_are_asked_for_are_enough(tmp_path: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("needs prlimit(1)")
    cluster = Cluster(tmp_path / "tree")
    cluster.under = ("prlimit", "--nofile=64")
    master = cluster.start_master()
    cluster.slave()
    assert cluster.exec("1", "echo", "hi").stdout == b"hi\n"
    assert "ulimit" not in master.log
    cluster.stop()
