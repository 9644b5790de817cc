"""A client of Ninf-G, beside the tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.invoke.client import Client
from tests.system.cluster import Cluster


@pytest.fixture
def client(tree: Cluster, tmp_path: Path) -> Iterator[Client]:
    with Client(tree, log=tmp_path / "log") as client:
        yield client
        assert "Traceback" not in (tmp_path / "log").read_text()
