"""A deeper tree than that of `conftest`, and a connection to its master."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gproc
from tests.system.cluster import Cluster as Machines


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A master with node 1 and its child 1/2, and node 3."""
    machines = Machines(tmp_path_factory.mktemp("library") / "c")
    machines.start_small_tree()
    yield machines
    machines.stop()


@pytest.fixture
def cluster(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> Iterator[gproc.Cluster]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))
    monkeypatch.chdir(machines.work)
    with gproc.connect(str(machines.socket)) as cluster:
        yield cluster
