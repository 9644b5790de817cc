"""A tree for the adapters' jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.cluster import Cluster


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master with node 1, its child 1/2, and node 3."""
    cluster = Cluster(tmp_path_factory.mktemp("adapter") / "c")
    cluster.start_small_tree()
    yield cluster
    cluster.stop()
