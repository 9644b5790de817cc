"""A cluster to attack, and the means to do it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.trust.authority import open_authority, provision
from gproc.trust.identity import Identity, load_identity
from tests.attack.relay import Relay
from tests.attack.target import Target
from tests.system.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A master without slaves, with the switches of the test's mark `master`."""
    cluster = Cluster(tmp_path / "c")
    mark = request.node.get_closest_marker("master")
    cluster.start_master(*(mark.args if mark else ()))
    yield cluster
    cluster.stop()


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user for a moment")


@pytest.fixture
def this_node(cluster: Cluster) -> Identity:
    """The genuine identity of a node of the cluster: of this machine."""
    return load_identity(str(cluster.home), "node", socket.gethostname())


@pytest.fixture
def other_node(cluster: Cluster, tmp_path: Path) -> Identity:
    """The genuine identity of another node of the cluster."""
    authority = open_authority(str(cluster.home), create=False)
    provision(authority, "kn9", [], str(tmp_path / "kn9"))
    return load_identity(str(tmp_path / "kn9"), "node", "kn9")


@pytest.fixture
def foreign_home(tmp_path: Path) -> Path:
    """Another cluster's keys."""
    home = tmp_path / "foreign"
    home.mkdir(mode=0o700)
    open_authority(str(home), create=True)
    return home


@pytest.fixture
def relay(cluster: Cluster, this_node: Identity) -> Iterator[Relay]:
    relay = Relay(cluster, this_node)
    yield relay
    relay.close()


@pytest.fixture
def relay_beside_a_way(cluster: Cluster, this_node: Identity) -> Iterator[Relay]:
    """The slave below it may dial the master itself."""
    relay = Relay(cluster, this_node, another_way=True)
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    target = Target(tmp_path_factory.mktemp("target") / "c")
    yield target
    target.close()
