"""The memory that a transfer takes does not depend on the payload's size."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import gproc
from bench import processes
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Daemon, Slave
from tests.transfer.payload import MIB, Payload
from tests.transfer.wiretap import Wiretap

PEAK_BYTES = 96 * MIB
"""Measured with Python 3.11, for 200 MiB: 45 MiB on the master, 32 to 36 on slaves.  An idle slave has some 28."""


def peak_bytes(daemon: Daemon) -> int:
    """The highest resident size so far: VmHWM, proc_pid_status(5)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.slow
@pytest.mark.stress
def test_memory_is_bounded_for_any_size_of_payload(
    cluster: Cluster, tapped: Callable[[int], list[Slave]], make_payload: Callable[[int], Payload]
) -> None:
    """On the master, on slaves that send to peers, on a relay, and on its leaves."""
    children = tapped(4)
    leaves = [cluster.slave(number, parent=children[0]) for number in (1, 2)]
    payload = make_payload(200)
    status, stdout, stderr = cluster.finish(cluster.begin("e", *payload.words("./.")))
    assert (status, stderr) == (0, "")
    assert stdout.count(payload.sum) == len(children) + len(leaves)
    assert max(peak_bytes(daemon) for daemon in (cluster.master, *children, *leaves)) < PEAK_BYTES


@pytest.mark.slow
def test_a_slow_child_costs_its_parent_no_memory(
    cluster: Cluster, tap: Wiretap, tapped: Callable[[int], list[Slave]], make_payload: Callable[[int], Payload]
) -> None:
    tapped(1)
    payload = make_payload(48)
    before = tap.down
    tap.rate = 8 * MIB
    job = cluster.begin("e", *payload.words("1"))
    tap.passed(before + 24 * MIB)
    assert peak_bytes(cluster.master) < PEAK_BYTES
    tap.rate = 0
    assert cluster.finish(job)[0] == 0


def test_copies_over_a_connection_that_stays_leave_nothing_in_the_master(
    cluster: Cluster, make_payload: Callable[[int], Payload]
) -> None:
    """Each left its transfer, with all digests of its chunks, and 32 MiB of the last ones, until the client went."""
    cluster.slave(1)
    with gproc.connect(str(cluster.socket)) as library:
        library.run("1", ["/bin/true"], check=True)
        before = processes.memory(cluster.master.pid).resident
        library.cp(str(make_payload(48).file), f"1:{cluster.place}/copy")
        until_s = time.monotonic() + PATIENCE_S
        while (more := processes.memory(cluster.master.pid).resident - before) > 16 * MIB:
            assert time.monotonic() < until_s, more
            time.sleep(0.05)
