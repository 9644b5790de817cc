"""A rack master that cannot keep a program passes it on: the nodes below run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster
from tests.transfer.payload import Payload


def fill(disk: Path) -> None:
    """Leave no room on it."""
    with open(disk / "full", "wb", buffering=0) as file:
        block = bytes(1 << 20)
        while len(block) >= 512:
            try:
                if file.write(block) < len(block):
                    block = block[: len(block) // 2]
            except OSError:
                block = block[: len(block) // 2]


def ranks_that_ran(stdout: str, payload: Payload) -> int:
    return stdout.count(payload.sum)


def test_the_nodes_below_a_rack_master_with_a_full_disk_get_the_program_through_it(
    cluster: Cluster, small_disk: Path, make_payload: Callable[[int], Payload]
) -> None:
    """It was refused to them too, with the rack master's reason."""
    rack = cluster.slave(1, f"--store={small_disk}/store")
    leaves = [cluster.slave(number, parent=rack) for number in (1, 2, 3)]
    fill(small_disk)
    payload = make_payload(20)
    status, stdout, stderr = cluster.finish(cluster.begin("e", *payload.words("./.")))
    assert ranks_that_ran(stdout, payload) == len(leaves), stderr
    assert status != 0
    assert "disk of the store" in stderr
    assert "make room there" in stderr
    assert "=1/" not in stderr

    target = cluster.place / "copied"
    done = cluster.command("cp", str(payload.file), f"=1/1:{target}")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == payload.file.read_bytes()


@pytest.mark.stress
def test_a_rack_master_whose_disk_is_full_halfway_passes_on_what_it_had_asked_for_too(
    cluster: Cluster, small_disk: Path, make_payload: Callable[[int], Payload]
) -> None:
    """Twice: it tries again to keep it."""
    rack = cluster.slave(1, f"--store={small_disk}/store", "--store-size=64M")
    leaves = [cluster.slave(number, parent=rack) for number in (1, 2)]
    payload = make_payload(20)
    for _ in range(2):
        status, stdout, stderr = cluster.finish(cluster.begin("e", *payload.words("./.")))
        assert ranks_that_ran(stdout, payload) == len(leaves), stderr
        assert status != 0
        payload = make_payload(21)


def test_a_master_with_a_full_disk_passes_a_program_on_from_its_client(
    tmp_path: Path, small_disk: Path, make_payload: Callable[[int], Payload]
) -> None:
    cluster = Cluster(tmp_path / "own")
    os.symlink(small_disk, cluster.place / "store-m")
    cluster.start_master()
    cluster.slave(1)
    fill(small_disk)
    payload = make_payload(20)
    status, stdout, stderr = cluster.finish(cluster.begin("e", *payload.words("1")))
    assert (status, ranks_that_ran(stdout, payload)) == (0, 1), stderr
    cluster.stop()
