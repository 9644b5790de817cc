"""Output that nodes have alike crosses each link once, and is the same bytes as if it had not."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest

import gproc
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Slave, fell
from tests.system.test_parents_die import WRITES, WRITTEN

pytestmark = pytest.mark.master("--orphan-timeout=25")


@pytest.fixture
def rack(cluster: Cluster) -> tuple[Cluster, Slave]:
    """A master and a rack master with four slaves."""
    above = cluster.slave(1)
    cluster.slaves_at_once(4, parent=above)
    return cluster, above


def from_nodes_bytes(cluster: Cluster) -> int:
    """What the master has received from the nodes below it."""
    with gproc.connect(str(cluster.socket)) as connected:
        counts = connected.info().counts
    assert counts is not None
    return counts.from_nodes_bytes


def test_what_all_nodes_say_alike_comes_to_the_master_once_byte_for_byte(rack: tuple[Cluster, Slave]) -> None:
    cluster, _ = rack
    said = os.urandom(300_000)
    (cluster.place / "said").write_bytes(said)
    before = from_nodes_bytes(cluster)
    done = cluster.exec("-localbin", "-b", "./.", "/bin/cat", str(cluster.place / "said"))
    assert (done.stdout, done.stderr) == (b"1,=1/1-4 (5):\n" + said + (b"" if said.endswith(b"\n") else b"\n"), b"")
    assert len(said) < from_nodes_bytes(cluster) - before < 1.5 * len(said)


def test_of_what_differs_in_one_place_the_rest_comes_once(rack: tuple[Cluster, Slave]) -> None:
    cluster, _ = rack
    said = os.urandom(100_000)
    (cluster.place / "said").write_bytes(said)
    before = from_nodes_bytes(cluster)
    script = f"cat {cluster.place}/said; printf '%20s' $GPROC_NODE; cat {cluster.place}/said"
    done = cluster.exec("-localbin", f"--outdir={cluster.work}/out", "./.", "/bin/sh", "-c", script)
    assert done.returncode == 0
    for node in ("1", "1/1", "1/2", "1/3", "1/4"):
        found = (cluster.work / "out" / f"{node.replace('/', '.')}.out").read_bytes()
        assert found == said + f"{node:>20}".encode() + said
    # Ten without it; and what a node says late, because the machine is busy, finds nothing to be compared with.
    assert from_nodes_bytes(cluster) - before < 7 * len(said)


@pytest.mark.parametrize(
    "signum",
    [pytest.param(signal.SIGKILL, id="killed"), pytest.param(signal.SIGSTOP, id="frozen", marks=pytest.mark.stress)],
)
def test_if_their_rack_master_dies_each_nodes_output_is_whole_and_once(
    rack: tuple[Cluster, Slave], signum: signal.Signals
) -> None:
    cluster, above = rack
    out = cluster.work / "out"
    job = cluster.begin("e", "-localbin", f"--outdir={out}", "=1/1-4", "/bin/sh", "-c", WRITES)
    await_bytes(out / "1.3.out", 4 << 20)
    above.kill(signum)
    status, _, stderr = cluster.finish(job)
    assert status == 0, stderr
    for number in range(1, 5):
        found = (out / f"1.{number}.out").read_bytes()
        assert hashlib.sha256(found).digest() == hashlib.sha256(WRITTEN).digest()
    fell(cluster, above, signum)


@pytest.fixture
def racks(cluster: Cluster) -> list[Slave]:
    """A master and three rack masters with two slaves each."""
    above = cluster.slaves_at_once(3)
    for each in above:
        cluster.slaves_at_once(2, parent=each)
    return above


def test_what_all_racks_say_alike_comes_from_one_of_them(cluster: Cluster, racks: list[Slave]) -> None:
    said = os.urandom(400_000)
    (cluster.place / "said").write_bytes(said)
    before = from_nodes_bytes(cluster)
    out = cluster.work / "out"
    done = cluster.exec("-localbin", f"--outdir={out}", "./.", "/bin/cat", str(cluster.place / "said"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert [path.read_bytes() == said for path in sorted(out.glob("*.out"))] == 9 * [True]
    # Three without it.  On a busy machine a rack waits for another one only for a second.
    assert len(said) < from_nodes_bytes(cluster) - before < 2.5 * len(said)


@pytest.mark.stress
def test_if_a_rack_dies_that_brings_what_all_say_the_others_bring_it(cluster: Cluster, racks: list[Slave]) -> None:
    out = cluster.work / "out"
    job = cluster.begin("e", "-localbin", f"--outdir={out}", "=1-3/.", "/bin/sh", "-c", WRITES)
    await_bytes(out / "1.1.out", 2 << 20)
    racks[0].kill(signal.SIGKILL)
    status, _, stderr = cluster.finish(job)
    assert status == 0, stderr
    for path in out.glob("*.out"):
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(WRITTEN).digest()
    assert len(list(out.glob("*.out"))) == 6
    fell(cluster, racks[0], signal.SIGKILL)


def await_bytes(path: Path, size: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < until_s
        os.sched_yield()
