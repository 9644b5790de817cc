r"""After thousands of jobs and hundreds of megabytes, each process of the tree has the memory that it had before.

    GPROC_JOBS=10000 GPROC_OUTPUT_MB=1000 GPROC_SLAVES=80 .venv/bin/python -m pytest -n 0 -s -m stress \
        tests/system/test_memory_is_back.py
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import gproc
from bench import processes
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Daemon

pytestmark = pytest.mark.stress

MB: Final = 1_000_000
JOBS: Final = int(os.environ.get("GPROC_JOBS", "1000"))
OUTPUT_MB: Final = int(os.environ.get("GPROC_OUTPUT_MB", "64"))
MB_PER_S: Final = int(os.environ.get("GPROC_MB_PER_S", "8"))
SLAVES: Final = int(os.environ.get("GPROC_SLAVES", "24"))
AT_ONCE: Final = 50

MORE_BYTES: Final = 16 << 20
"""gproc.relay.memory gives back more than 8 MiB; pages of libraries that had not been used before come to it."""
PEAK_BYTES: Final = 32 << 20
"""The memory that output on its way may use at its peak."""


class Usage(NamedTuple):
    """What one process uses.  Memory in bytes."""

    resident: int
    proportional: int
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.resident / MB:.1f} MB resident, {self.proportional / MB:.1f} proportional, "
            f"{self.descriptors} descriptors, {self.threads} threads"
        )


def usage(daemon: Daemon) -> Usage:
    memory = processes.memory(daemon.pid)
    threads = len(os.listdir(f"/proc/{daemon.pid}/task"))
    return Usage(memory.resident, memory.proportional, daemon.descriptors(), threads)


class Tree:
    """Its processes by name, and a connection to its master."""

    def __init__(self, cluster: Cluster, slaves: Mapping[str, Daemon]) -> None:
        self.cluster = cluster
        self.daemons = {"master": cluster.master, **slaves}
        self.library = gproc.connect(str(cluster.socket))

    def usage(self) -> dict[str, Usage]:
        return {name: usage(daemon) for name, daemon in self.daemons.items()}

    def forget_peaks(self) -> None:
        for daemon in self.daemons.values():
            processes.forget_peak(daemon.pid)

    def peaks(self) -> dict[str, int]:
        return {name: processes.peak_bytes(daemon.pid) for name, daemon in self.daemons.items()}

    def is_as(self, before: Mapping[str, Usage], what: str, begin_s: float) -> None:
        """Wait until no process has more of anything than before.

        Threads of a pool may stay, at most 6, and for a minute the launcher of copies, with a descriptor.
        """
        took_s = time.monotonic() - begin_s
        until_s = time.monotonic() + PATIENCE_S
        while over := [
            name for name, now in self.usage().items()
            if now.resident > before[name].resident + MORE_BYTES
            or now.descriptors > before[name].descriptors + 2
            or now.threads > before[name].threads + 6
        ]:  # fmt: skip
            assert time.monotonic() < until_s, {name: (before[name], self.usage()[name]) for name in over}
            time.sleep(0.1)
        load = os.getloadavg()[0]
        lines = "".join(f"    {name}: {now}\n" for name, now in self.usage().items())
        sys.stdout.write(f"{what}, {took_s:.1f} s, load {load:.1f}\n{lines}")


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Tree]:
    """A master, a rack master and a leaf, which have had some of each kind of work."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    rack = cluster.slave(1)
    tree = Tree(cluster, {"rack": rack, "leaf": cluster.slave(1, parent=rack)})
    for number in range(20):
        tree.library.run("./.", ["/bin/echo", str(number)], check=True)
    yield tree
    tree.library.close()
    cluster.stop_behind_a_relay()


def write_bytes(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for _ in range(count // MB):
            file.write(os.urandom(MB))


def test_memory_is_back_after_jobs_output_and_transfers(chain: Tree, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", chain.cluster.place / "copy"
    begin_s = time.monotonic()
    before = chain.usage()
    chain.is_as(before, "before", begin_s)

    begin_s = time.monotonic()
    for _ in range(JOBS):
        chain.library.run("./.", ["/bin/true"], check=True)
    chain.is_as(before, f"{JOBS} jobs on two nodes", begin_s)

    begin_s = time.monotonic()
    with chain.library.popen("=1/1", ["/bin/sh", "-c", f"head -c {100 * MB} /dev/zero"]) as job:
        taken = sum(len(event.data) for event in job if isinstance(event, gproc.Output))
    assert taken == 100 * MB
    chain.is_as(before, "100 MB of output", begin_s)

    write_bytes(source, 200 * MB)
    begin_s = time.monotonic()
    chain.library.cp(str(source), f"./.:{copy}")
    chain.is_as(before, "a copy of 200 MB to two nodes", begin_s)

    begin_s = time.monotonic()
    chain.library.get(f"=1/1:{copy}", str(tmp_path / "got"))
    chain.is_as(before, "200 MB by get", begin_s)

    write_bytes(source, 100 * MB)
    begin_s = time.monotonic()
    chain.library.run("./.", ["/bin/true"], files=[str(source)], check=True)
    chain.is_as(before, "100 MB by -f", begin_s)


def test_a_client_that_reads_slowly_costs_no_process_memory(chain: Tree) -> None:
    """Output waits at its program: on its way there are windows."""
    before = chain.usage()
    chain.forget_peaks()
    begin_s = time.monotonic()
    reading = chain.cluster.begin("e", "=1/1", "/bin/sh", "-c", f"head -c {OUTPUT_MB * MB} /dev/zero")
    assert reading.stdout is not None
    taken = 0
    while data := reading.stdout.read(MB // 10):
        taken += len(data)
        time.sleep(max(0.0, begin_s + taken / (MB_PER_S * MB) - time.monotonic()))
        if taken == OUTPUT_MB * MB // 4:
            early = processes.memory(reading.pid)
        if taken == OUTPUT_MB * MB * 3 // 4:
            client = processes.memory(reading.pid)
    assert (reading.wait(), taken) == (0, OUTPUT_MB * MB)
    peaks = chain.peaks()
    more = {name: round((peak - before[name].resident) / MB, 1) for name, peak in peaks.items()}
    sys.stdout.write(
        f"peaks above before, in MB: {more}; "
        f"the client had {early.resident / MB:.1f} MB, and then {client.resident / MB:.1f}\n"
    )
    for name, peak in peaks.items():
        assert peak < before[name].resident + PEAK_BYTES, name
    assert client.resident < early.resident + 8 * MB
    chain.is_as(before, f"{OUTPUT_MB} MB at {MB_PER_S} MB/s", begin_s)


def test_fifty_jobs_at_once_on_many_slaves(tmp_path: Path) -> None:
    """Each result is right, and nothing is left of any."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    slaves = cluster.slaves_at_once(SLAVES)
    tree = Tree(cluster, {slave.path: slave for slave in slaves})
    tree.library.run("./.", ["/bin/echo", "first"], check=True)
    before = tree.usage()
    begin_s = time.monotonic()

    def one(number: int) -> None:
        done = tree.library.run("./.", ["/bin/sh", "-c", f"echo {number} $GPROC_NODE"], check=True)
        assert done.stdout == {slave.path: b"%d %s\n" % (number, slave.path.encode()) for slave in slaves}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(AT_ONCE)))
    tree.is_as(before, f"{AT_ONCE} jobs at once on {SLAVES} slaves", begin_s)
    cluster.nothing_runs()
    tree.library.close()
    cluster.stop()
