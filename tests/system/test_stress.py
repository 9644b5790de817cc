"""Many jobs, in sequence and at the same time: each result is right, and nothing accumulates."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

NODES = 8
IN_SEQUENCE = 200
AT_ONCE = 50


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("eight") / "c")
    cluster.start_master()
    cluster.slaves_at_once(NODES)
    yield cluster
    cluster.stop()


def open_descriptors(cluster: Cluster) -> list[int]:
    return [daemon.descriptors() for daemon in (cluster.master, *cluster.slaves)]


def no_more_descriptors_than(before: list[int], cluster: Cluster) -> None:
    """The master closes the connection of a command soon after the command has ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while any(now > then for now, then in zip(open_descriptors(cluster), before, strict=True)):
        assert time.monotonic() < deadline_s, f"{open_descriptors(cluster)}, and before {before}"
        time.sleep(0.05)


@pytest.mark.stress
def test_jobs_in_sequence_leave_no_descriptor_process_or_file(eight: Cluster) -> None:
    assert eight.exec(".", "/bin/echo", "first").returncode == 0
    before = open_descriptors(eight)
    for number in range(IN_SEQUENCE):
        done = eight.exec("-n", ".", "/bin/echo", str(number))
        assert (done.returncode, done.stdout) == (0, b"%d\n" % number * NODES), done.stderr
    eight.nothing_runs()
    no_more_descriptors_than(before, eight)
    for slave in eight.slaves:
        assert not list(slave.bin_root.iterdir())


@pytest.mark.slow
@pytest.mark.stress
def test_jobs_at_the_same_time_do_not_mix(eight: Cluster) -> None:
    assert eight.exec(".", "/bin/sh", "-c", ":").returncode == 0
    before = open_descriptors(eight)
    jobs = [
        eight.begin("e", ".", "/bin/sh", "-c", f"for i in 1 2 3; do echo {number} $i; done; exit {number}")
        for number in range(AT_ONCE)
    ]
    for number, job in enumerate(jobs):
        status, stdout, _ = eight.finish(job)
        assert status == number
        assert sorted(stdout.splitlines()) == sorted(f"{number} {i}" for i in (1, 2, 3) for _ in range(NODES))
    eight.nothing_runs()
    no_more_descriptors_than(before, eight)
