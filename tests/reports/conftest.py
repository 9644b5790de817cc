"""What users of other tools reported, tried on gproc: a node 1 and a place on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster
from tests.system.flat import flat_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Nodes 1 and 2."""
    with flat_tree(tmp_path_factory.mktemp("reports"), 2) as cluster:
        yield cluster


@pytest.fixture
def place(tree: Cluster, tmp_path: Path) -> Path:
    """A directory on "the nodes", which share this machine's file system; others may look in."""
    for directory in (tmp_path, *tmp_path.parents):
        if str(directory) not in ("/", "/tmp") and directory.stat().st_uid == os.geteuid():
            directory.chmod(directory.stat().st_mode | 0o055)
    return tmp_path


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: owners, devices, and slaves that become other users")
