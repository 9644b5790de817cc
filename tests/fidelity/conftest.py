"""A real master and slaves that programs of real users run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import NOBODY, Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A master without slaves."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Node 1, which gives jobs a view, and node 2, which is plain; for what leaves them as they are."""
    cluster = Cluster(tmp_path_factory.mktemp("pair") / "c")
    cluster.start_master()
    cluster.slave(1)
    cluster.slave(2, "-p=false")
    if cluster.states()["1"] == "plain":
        cluster.stop()
        pytest.skip("needs namespaces, which this machine does not give")
    yield cluster
    cluster.stop()


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: slaves that become other users, and other users' commands")


@pytest.fixture
def users_node(cluster: Cluster, root_only: None) -> Cluster:
    """A cluster of a user who is not root: master, node 1 and commands, all his."""
    os.chown(cluster.place, NOBODY, NOBODY)
    return cluster
