"""A slave that is refused asked again every second for ever, and the master logged each time."""

from __future__ import annotations

import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from gproc.relay.membership import MAX_REFUSED_S
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Slave


def dialled_times(slave: Slave, times: int) -> None:
    """Wait until the slave has been refused so often."""
    slave.says("dials again in", times=times)


@pytest.mark.parametrize("what", ["a taken id", "another cluster"])
def test_it_is_logged_once_and_the_slave_waits_longer_each_time(what: str, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    cluster.slave(1)
    switches: list[str] = ["--id=1", "-debug=1"]
    env = dict(cluster.env)
    if what == "another cluster":
        env["GPROC_HOME"] = str(tmp_path / "other")
        other = Cluster(tmp_path / "o")
        other.env["GPROC_HOME"] = env["GPROC_HOME"]
        other.start_master()
        other.stop()
    own = (f"--parent=127.0.0.1:{cluster.port}", "-cmdport=0", f"--store={tmp_path}/s", f"-binRoot={tmp_path}/x")
    slave = Slave([*gproc_as(None), "s", *own, *switches], env, cluster.work)
    dialled_times(slave, 5)
    pauses = [float(found) for found in re.findall(r"dials again in (\d+\.\d+) s", slave.log)]
    assert all(later > earlier for earlier, later in pairwise(pauses)), pauses
    assert pauses[4] < MAX_REFUSED_S
    assert len(re.findall("cannot join", slave.log)) == 1
    slave.kill(signal.SIGTERM)
    slave.wait()
    refused = [line for line in cluster.master.log.splitlines() if "refused" in line]
    assert len(refused) == 1, refused
    cluster.stop()


def test_a_slave_that_comes_in_after_it_was_refused_is_news_when_it_is_refused_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    first = cluster.slave(1)
    for times in (1, 2):
        second = cluster.launch_slave("--id=1")
        cluster.master.says("refused .*: id 1 is taken", times=times)
        cluster.end(second, signal.SIGTERM)
        if times == 1:
            cluster.end(first, signal.SIGTERM)
            cluster.master.says("left: 1")
            first = cluster.slave(1)
    cluster.stop()
