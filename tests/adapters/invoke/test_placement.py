"""Which nodes a client means, and how many processes run on each."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gproc
from gproc.adapters.invoke.placement import NoSuchNode, nodes_meant, nodes_selected, path_of, rounds, spread
from gproc.nodespec import NodeSpec


def node(place: str, host: str, address: str, jobs: int = 0) -> gproc.NodeStatus:
    return gproc.NodeStatus(place, host, address, "up", "", jobs, 0.0, 0.0)


TREE = gproc.TreeInfo(
    "front", 0.0,
    (
        node("1", "kn1.lab", "10.0.0.1:6666"), node("1/2", "kn2.lab", "10.0.0.2:6666", jobs=4),
        node("2", "front", "127.0.0.1:6667"), node("3", "front", "127.0.0.1:6668"), node("4", "kn4", "[fe80::4]:66"),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("hostname", "port", "places"),
    [
        ("1", 0, "1"),
        ("1/2", 0, "1/2"),
        ("kn2.lab", 0, "1/2"),
        ("KN2", 0, "1/2"),
        ("kn4.elsewhere", 0, "4"),
        ("10.0.0.2", 0, "1/2"),
        ("fe80::4", 0, "4"),
        ("front", 0, "2 3"),
        ("front", 6668, "3"),
        ("localhost", 0, "2 3"),
        ("127.0.0.1", 6667, "2"),
    ],
)
def test_a_node_is_found_by_place_name_address_and_port(hostname: str, port: int, places: str) -> None:
    assert [each.node for each in nodes_meant(hostname, port, TREE)] == places.split()


def test_a_name_that_only_the_resolver_knows_is_found_by_its_address() -> None:
    assert [each.node for each in nodes_meant("alias", 0, TREE, {"10.0.0.1"})] == ["1"]


@pytest.mark.parametrize("state", ["unreachable", "down"])
def test_a_node_that_was_lost_is_not_chosen(state: Literal["unreachable", "down"]) -> None:
    lost = msgspec.structs.replace(TREE.nodes[3], state=state)
    tree = msgspec.structs.replace(TREE, nodes=(*TREE.nodes[:3], lost))
    assert [each.node for each in nodes_meant("localhost", 0, tree)] == ["2"]
    assert [each.node for each in nodes_selected("./.", tree)] == ["1", "1/2", "2"]
    with pytest.raises(NoSuchNode, match="no node of the tree is called 3: it has 1"):
        nodes_meant("3", 0, tree)


def test_what_names_no_node_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(NoSuchNode, match=r"no node of the tree is called kn9: it has 1 \(kn1.lab\)"):
        nodes_meant("kn9", 0, TREE)
    with pytest.raises(NoSuchNode, match="called kn3"):
        nodes_meant("kn3.lab", 0, TREE)
    with pytest.raises(NoSuchNode, match="no slave on front has the port 22"):
        nodes_meant("front", 22, TREE)
    with pytest.raises(NoSuchNode, match="no nodes at all"):
        nodes_meant("kn1", 0, gproc.TreeInfo("front", 0.0, ()))


def test_a_node_specification_selects_as_for_gproc_e() -> None:
    assert [each.node for each in nodes_selected("1/2,4", TREE)] == ["1", "1/2", "4"]
    assert [each.node for each in nodes_selected("=1/2", TREE)] == ["1/2"]
    with pytest.raises(NoSuchNode, match="no node is connected"):
        nodes_selected("9", TREE)
    with pytest.raises(gproc.SpecError):
        nodes_selected("1-", TREE)


def test_the_next_process_goes_to_the_node_that_has_the_fewest() -> None:
    assert spread(4, TREE.nodes[:2], {}) == {"1": 2, "1/2": 2}
    assert spread(1, TREE.nodes[:2], {}) == {"1": 1}
    assert spread(3, TREE.nodes[:2], {"1": 9}) == {"1/2": 3}
    assert spread(4, TREE.nodes, {}, host_count=2) == {"1": 2, "2": 2}


@given(st.integers(1, 300), st.lists(st.sampled_from(TREE.nodes), min_size=1, unique_by=lambda node: node.node))
def test_the_jobs_of_a_request_run_as_many_processes_as_it_asked_for(count: int, nodes: list[gproc.NodeStatus]) -> None:
    placed = spread(count, nodes, {})
    ran: Counter[str] = Counter()
    places = {path_of(each.node): each.node for each in TREE.nodes}
    for text in rounds(placed):
        ran.update(places[path] for path in NodeSpec.parse(text).select(places))
    assert ran == placed
    assert ran.total() == count
