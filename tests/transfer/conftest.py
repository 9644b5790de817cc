"""Clusters whose links are counted, and payloads that no node has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, Slave
from tests.transfer.parcel import MIB, Parcel
from tests.transfer.wiretap import Wiretap


@pytest.fixture
def parcel_of(cluster: Cluster) -> Callable[[int], Parcel]:
    """Makes a parcel of so many MiB."""
    return lambda size_mib: Parcel(cluster.place / f"root-{size_mib}", size_mib * MIB)


@pytest.fixture
def tap() -> Iterator[Wiretap]:
    """In front of the master's port, for those slaves that are to dial it there."""
    with Wiretap() as tap:
        yield tap


@pytest.fixture
def cluster(tmp_path: Path, tap: Wiretap) -> Iterator[Cluster]:
    """A master without slaves."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--link-timeout=3")
    tap.target = cluster.port
    yield cluster
    tap.rate = 0
    cluster.stop_behind_a_relay()


@pytest.fixture
def tapped(cluster: Cluster, tap: Wiretap) -> Callable[[int], list[Slave]]:
    """Starts so many slaves, with the ids from 1 on, behind the wiretap."""

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
        pytest.skip("needs root: other users, and small disks")


@pytest.fixture
def small_disk(tmp_path: Path, root_only: None) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], check=False).returncode:
        pytest.skip("cannot mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
