"""Fifty jobs at a time, many times, each with a program that no node has: results are right, and nothing is left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import until
from tests.system.cluster import Cluster, Daemon

NODES = 6
AT_ONCE = 50
ROUNDS = 7
"""With the nodes above, this makes 2,100 programs."""


@pytest.fixture
def six(place: Path) -> Iterator[Cluster]:
    cluster = Cluster(Path(tempfile.mkdtemp(dir=place)) / "c")
    cluster.start_master()
    cluster.slaves_at_once(NODES)
    yield cluster
    cluster.stop()


def launchers_of(slave: Daemon) -> list[int]:
    """The launcher's pid, if there is one: it is the other process with the slave's command line."""
    mine = cmdline(slave.pid)
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [pid for pid in pids if pid != slave.pid and cmdline(pid) == mine]


def cmdline(pid: int) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None


def held(cluster: Cluster) -> list[int]:
    """The descriptors of every process, and the mounts of gproc in slaves' and launchers' namespaces."""
    launchers = [launcher for slave in cluster.slaves for launcher in launchers_of(slave)]
    pids = [cluster.master.pid, *(slave.pid for slave in cluster.slaves), *launchers]
    descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
    namespaces = (*launchers, cluster.slaves[0].pid)
    mounts = [Path(f"/proc/{pid}/mountinfo").read_text().count(" gproc ") for pid in namespaces]
    return [*descriptors, *mounts]


@pytest.mark.stress
def test_two_thousand_programs_on_nodes_do_not_mix_and_leave_nothing(six: Cluster) -> None:
    assert six.exec("-n", ".", "/bin/echo", "first").returncode == 0
    before = held(six)
    echo = Path("/bin/echo").read_bytes()
    for turn in range(ROUNDS):
        names = [f"p{turn}-{number}" for number in range(AT_ONCE)]
        for name in names:
            # Bytes behind the end of an ELF file change only its digest, so every store writes the file anew.
            (six.work / name).write_bytes(echo + name.encode())
            (six.work / name).chmod(0o755)
        jobs = [six.begin("e", "-n", ".", f"./{name}", name) for name in names]
        for name, job in zip(names, jobs, strict=True):
            # This fails, for example, with "Text file busy".
            assert six.finish(job) == (0, f"{name}\n" * NODES, "")
            (six.work / name).unlink()
    six.nothing_runs()
    # The master closes the connection of the last command; a store lets go of a bundle seconds after its last use.
    until(lambda: held(six) == before, "descriptors or mounts are left")
    for slave in six.slaves:
        assert not list(slave.bin_root.iterdir())
