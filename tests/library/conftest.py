"""Two nodes, and a connection to their master."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gproc
from tests.system.cluster import Cluster
from tests.system.flat import flat_tree


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with flat_tree(tmp_path_factory.mktemp("nodes"), 2) as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[gproc.Cluster]:
    monkeypatch.chdir(nodes.work)
    with gproc.connect(str(nodes.socket)) as connected:
        yield connected
