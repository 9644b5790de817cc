"""A tree of one level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.cluster import Cluster


@contextmanager
def flat_tree(place: Path, nodes: int) -> Iterator[Cluster]:
    """A master with nodes 1 to `nodes`.  place: what is made for them."""
    cluster = Cluster(place / "c")
    cluster.start_master()
    cluster.slaves_at_once(nodes)
    yield cluster
    cluster.stop()
