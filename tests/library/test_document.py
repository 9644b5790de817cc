"""docs/library.md: every example does what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from tests.system.cluster import Cluster as Machines

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A master with node 1 and its child 1/2, as the page has it."""
    machines = Machines(tmp_path_factory.mktemp("document") / "c")
    machines.start_master()
    machines.slave(2, parent=machines.slave(1))
    yield machines
    machines.stop()


def test_every_example_runs(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))
    monkeypatch.chdir(machines.work)
    page = PAGE.read_text()
    blocks = list(BLOCK.finditer(page))
    assert len(blocks) >= 7
    names: dict[str, object] = {}
    for block in blocks:
        line = page[: block.start(1)].count("\n")
        source = re.sub(r"gproc\.(connect|connect_async)\(\)", rf"gproc.\1({str(machines.socket)!r})", block.group(1))
        exec(compile("\n" * line + source, str(PAGE), "exec"), names)


def test_every_public_name_is_on_the_page() -> None:
    page = PAGE.read_text()
    told_elsewhere = {"AsyncCluster", "AsyncJob", "Bundle", "Cluster", "CompletedJob", "DEVNULL", "Event", "NodeStatus"}
    told_elsewhere |= {"Outcome", "Staged", "TreeInfo"}
    assert {name for name in gproc.__all__ if name not in page} <= told_elsewhere
