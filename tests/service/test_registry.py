"""What the master knows of nodes that come and go."""

from __future__ import annotations

import pytest

from gproc.service import registry as registries
from gproc.service.registry import Registry
from gproc.wire.messages import NodeInfo, Route


def info(name: str, run: int) -> NodeInfo:
    return NodeInfo(name, ":1", run.to_bytes(16, "big"), "", 0.0)


def test_a_host_that_announces_new_nodes_without_end_is_forgotten_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cost the master 2.5 kB, and a row on its disk, for ever."""
    monkeypatch.setattr(registries, "GONE_OF_HOST_MAX", 10)
    registry = Registry()
    registry.arrive(Route((1,)), info("kn1", 0))
    for run in range(1, 31):
        node, _ = registry.arrive(Route((1, run)), info("kn1", run))
        node.lease_ends_s = run
        registry.lose(node, run)
    honest, _ = registry.arrive(Route((2,)), info("kn2", 99))
    registry.lose(honest, 0)
    assert registry.too_many_gone("kn2", 1000) == []
    assert [node.place[-1] for node in registry.too_many_gone("kn1", 15.5)] == list(range(1, 16))  # leases have ended
    for node in registry.too_many_gone("kn1", 1000):
        registry.forget(node)
    assert sorted(node.place for node in registry.known()) == [(1,), *((1, run) for run in range(21, 31)), (2,)]
    back, _ = registry.arrive(Route((1, 30)), info("kn1", 30))
    registry.lose(back, 2000)
    assert registry.too_many_gone("kn1", 3000) == []


def test_a_node_is_not_announced_in_the_place_of_another_that_is_there() -> None:
    registry = Registry()
    registry.arrive(Route((1,)), info("kn1", 1))
    registry.arrive(Route((1, 2)), info("kn2", 2))
    assert "1 (kn1) is reached by the same way" in registry.objection(Route((1,)), info("kn2", 2))
    assert registry.objection(Route((1, 2)), info("kn2", 2)) == ""
    assert registry.objection(Route((1, 2)), info("kn2", 3)) == ""  # another run of its slave takes its place
