"""Clusters for the tests of whole copies."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.system.cluster import Cluster


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Nodes 1, 2 and 1/7."""
    cluster = Cluster(tmp_path_factory.mktemp("copy") / "c")
    cluster.start_master()
    first, _ = cluster.slaves_at_once(2)
    cluster.slave(7, parent=first)
    yield cluster
    cluster.stop()


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: owners, and slaves that become other users")
