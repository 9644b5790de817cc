"""Two nodes, and a connection to their master."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gproc
from tests.system.cluster import Cluster


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("nodes") / "c")
    cluster.start_master()
    cluster.slaves_at_once(2)
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[gproc.Cluster]:
    monkeypatch.chdir(nodes.work)
    with gproc.connect(str(nodes.socket)) as connected:
        yield connected
