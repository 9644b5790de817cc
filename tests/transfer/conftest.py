"""Clusters whose links are counted, and payloads that no node has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, Slave
from tests.transfer.payload import MIB, Payload
from tests.transfer.wiretap import Wiretap


@pytest.fixture
def make_payload(cluster: Cluster) -> Callable[[int], Payload]:
    """Returns a function that makes a payload of a size in MiB."""
    return lambda size_mib: Payload(cluster.place / f"root-{size_mib}", size_mib * MIB)


@pytest.fixture
def tap() -> Iterator[Wiretap]:
    """A wiretap in front of the master's port; slaves that are to be counted dial it."""
    with Wiretap() as tap:
        yield tap


@pytest.fixture
def cluster(tmp_path: Path, tap: Wiretap) -> Iterator[Cluster]:
    """A master without slaves."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--link-timeout=3", "--orphan-timeout=10")
    tap.target = cluster.port
    yield cluster
    tap.rate = 0
    cluster.stop_behind_a_relay()


@pytest.fixture
def tapped(cluster: Cluster, tap: Wiretap) -> Callable[[int], list[Slave]]:
    """Returns a function that starts a number of slaves, with ids from 1 on, behind the wiretap."""

    def start(count: int) -> list[Slave]:
        started = [
            cluster.launch_slave(f"--id={number}", "--link-timeout=3", parent=tap.port)
            for number in range(1, count + 1)
        ]
        return [cluster.joined(slave, cluster.master) for slave in started]

    return start


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to use other users and small disks")


@pytest.fixture
def small_disk(tmp_path: Path, root_only: None) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], check=False).returncode:
        pytest.skip("cannot mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
