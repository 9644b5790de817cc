"""A link carries each byte once, and no byte that the node has already."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.system.cluster import NOBODY, Cluster, Slave
from tests.transfer.payload import MIB, Payload
from tests.transfer.wiretap import Wiretap

WARM_BYTES = 50_000
"""The most that the master may send for a run of a bundle that its nodes have."""

MakePayload = Callable[[int], Payload]
Start = Callable[[int], list[Slave]]


def run(cluster: Cluster, payload: Payload, nodes: str, count: int, **options: object) -> None:
    """Send the payload to `count` nodes, and check that it arrives complete."""
    done = cluster.exec(*payload.words(nodes), **options)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == count
    assert all(line.startswith(payload.sum) for line in lines)


def test_a_large_payload_leaves_its_parent_about_once_for_four_children(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    tapped(4)
    before = tap.down
    payload = make_payload(12)
    run(cluster, payload, ".", 4)
    assert tap.down - before < 1.5 * payload.size_bytes


def test_the_second_run_sends_next_to_nothing_even_to_another_user(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload, root_only: None
) -> None:
    tapped(3)
    payload = make_payload(8)
    run(cluster, payload, ".", 3)
    before = tap.down
    run(cluster, payload, ".", 3)
    run(cluster, payload, ".", 3, uid=NOBODY)
    assert tap.down - before < WARM_BYTES


def test_a_changed_mib_of_forty_sends_about_a_mib_to_each_node(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    tapped(3)
    payload = make_payload(40)
    run(cluster, payload, ".", 3)
    payload.change(17 * MIB)
    before = tap.down
    run(cluster, payload, ".", 3)
    assert MIB < tap.down - before < 3.3 * MIB


def test_a_file_that_the_node_has_at_its_own_path_is_not_sent(cluster: Cluster, tap: Wiretap, tapped: Start) -> None:
    tapped(1)
    path = cluster.work / "everywhere"
    path.write_bytes(os.urandom(6 * MIB))
    before = tap.down
    done = cluster.exec("-n", "-f", str(path), "1", "/bin/cat", str(path))
    assert (done.returncode, done.stdout) == (0, path.read_bytes())
    assert tap.down - before < WARM_BYTES


def test_a_relay_that_has_a_bundle_gives_it_to_a_new_child_without_asking_its_parent(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    (relay,) = tapped(1)
    payload = make_payload(8)
    run(cluster, payload, "1", 1)
    cluster.slave(1, parent=relay)
    before = tap.down
    run(cluster, payload, "=1/1", 1)
    assert tap.down - before < WARM_BYTES


def test_two_clients_that_send_the_same_bundle_at_once_cost_one_transfer(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    tapped(1)
    payload = make_payload(8)
    tap.rate = 8 * MIB
    before = tap.down
    jobs = [cluster.begin("e", *payload.words("1")) for _ in range(2)]
    for job in jobs:
        status, stdout, stderr = cluster.finish(job)
        assert (status, stderr) == (0, "")
        assert stdout.startswith(payload.sum)
    assert tap.down - before < 1.2 * payload.size_bytes


@pytest.mark.stress
def test_output_and_signals_of_another_job_go_on_during_a_transfer(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    """The transfer runs at 4 MiB a second.  It is not over when the other job ends, so that job did not wait for it."""
    tapped(1)
    payload = make_payload(32)
    tap.rate = 4 * MIB
    before = tap.down
    transfer = cluster.begin("e", *payload.words("1"))
    tap.passed(before + 2 * MIB)
    assert cluster.exec("-n", "1", "/bin/echo", "meanwhile").stdout == b"meanwhile\n"
    sleeper = cluster.begin("e", "-n", "1", "/bin/sh", "-c", "echo asleep; exec sleep 60")
    assert sleeper.stdout is not None and sleeper.stdout.readline() == b"asleep\n"
    sleeper.send_signal(signal.SIGINT)
    assert cluster.finish(sleeper)[0] == 128 + signal.SIGINT
    assert transfer.poll() is None
    tap.rate = 0
    assert cluster.finish(transfer)[0] == 0


@pytest.mark.stress
def test_a_payload_that_shrinks_goes_over_a_slow_link_compressed(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    tapped(1)
    payload = make_payload(12)
    payload.file.write_bytes(b"".join(b"%011d\n" % number for number in range(MIB)))
    tap.rate = 12 * MIB
    before = tap.down
    run(cluster, payload, "1", 1)
    assert tap.down - before < payload.size_bytes * 2 // 3
