"""Jobs that the kernel does not let die: their node must be able to end all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A group of version 1 whose processes can be frozen: then even SIGKILL waits.  With version 2 it does not."""
    if os.geteuid() != 0 or not (FREEZER / "cgroup.procs").exists():
        pytest.skip("needs root and the freezer of version 1")
    group = FREEZER / f"gproc-test-{os.getpid()}"
    group.mkdir()
    yield group
    (group / "freezer.state").write_text("THAWED")
    for _ in range(1000):
        if not (group / "cgroup.procs").read_text():
            break
        os.sched_yield()
    group.rmdir()


@pytest.mark.parametrize("starter", ["native", "python"])
def test_a_slave_ends_although_a_job_of_it_cannot_be_killed(tmp_path: Path, frozen: Path, starter: str) -> None:
    """It waited for the job's end for ever, so neither `gproc stop` nor a service manager's SIGTERM ended it."""
    cluster = Cluster(tmp_path / "c")
    if starter == "python":
        cluster.env["GPROC_INIT"] = "python"
    cluster.start_master()
    slave = cluster.slave(1)
    script = f"sleep 1000 & echo $! > {frozen}/cgroup.procs; echo FROZEN > {frozen}/freezer.state; echo frozen; wait"
    job = cluster.begin("e", "=1", "/bin/sh", "-c", script)
    assert job.stdout is not None
    assert job.stdout.readline() == b"frozen\n"
    slave.kill(signal.SIGTERM)
    slave.process.wait(PATIENCE_S)  # not for the end of its log, which a launcher in Python holds open
    slave.says("do not end, though they are killed")
    cluster.forget(slave)
    job.kill()
    job.communicate()
    (frozen / "freezer.state").write_text("THAWED")
    cluster.stop()


def test_a_person_can_leave_a_job_that_cannot_be_killed(tmp_path: Path, frozen: Path) -> None:
    """However often Ctrl-C was pressed, the command stayed: only kill -9 ended it."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    cluster.slave(1)
    script = f"sleep 1000 & echo $! > {frozen}/cgroup.procs; echo FROZEN > {frozen}/freezer.state; echo frozen; wait"
    job = cluster.begin("e", "=1", "/bin/sh", "-c", script)
    assert job.stdout is not None
    assert job.stdout.readline() == b"frozen\n"
    presses = 0
    while job.poll() is None:
        assert presses < PATIENCE_S
        job.send_signal(signal.SIGINT)
        presses += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(1)
    status, _, said = cluster.finish(job)
    assert (status, "was killed and has not ended" in said) == (128 + signal.SIGINT, True)
    assert presses > 2
    (frozen / "freezer.state").write_text("THAWED")
    cluster.nothing_runs(PATIENCE_S)
    cluster.stop()
