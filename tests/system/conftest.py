"""Clusters for the tests of whole jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster
from tests.system.flat import flat_tree


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A master without slaves, for tests that end or break parts of it.  The test's mark `master` has its switches."""
    mark = request.node.get_closest_marker("master")
    cluster = Cluster(tmp_path / "c")
    cluster.start_master(*(() if mark is None else mark.args))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and nodes 1 to 3, for tests that do not change them."""
    with flat_tree(tmp_path_factory.mktemp("flat"), 3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Nodes 1, 2, 1/1, 1/2, 2/1 and 1/1/5, for tests that do not change them."""
    cluster = Cluster(tmp_path_factory.mktemp("deep") / "c")
    cluster.start_master()
    first, second = cluster.slaves_at_once(2)
    below, _ = cluster.slaves_at_once(2, parent=first)
    cluster.slave(1, parent=second)
    cluster.slave(5, parent=below)
    yield cluster
    cluster.stop()


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for slaves that become other users and for other users' commands")
