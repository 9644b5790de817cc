"""The master's picture of the tree, and what it tells each hop of a job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Path, Place
from gproc.tree import RouteIndex, Tree, branches, number
from gproc.wire.branch import Branch
from gproc.wire.messages import NodeInfo, Route

paths = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
routes = paths.map(Route)
places = paths.map(Place)


def ranked(some: set[Place]) -> dict[Route, int]:
    return {Route(place): rank for place, rank in number(some).items()}


def node(name: str) -> NodeInfo:
    return NodeInfo(name, "", b"", "", 0.0)


def walk(branch: Branch, path: Path) -> dict[Path, int]:
    found = {} if branch.rank < 0 else {path: branch.rank}
    for id, child in branch.children.items():
        found |= walk(child, (*path, id))
    return found


@given(st.sets(places, max_size=20))
def test_the_branches_of_a_job_hold_every_rank_at_its_own_path(some: set[Place]) -> None:
    ranks = ranked(some)
    assert sorted(ranks.values()) == list(range(len(some)))
    found: dict[Path, int] = {}
    for id, branch in branches(ranks).items():
        found |= walk(branch, (id,))
    assert found == ranks


@given(st.sets(places, min_size=1, max_size=20))
def test_no_branch_leads_to_nothing(some: set[Place]) -> None:
    def check(branch: Branch) -> None:
        assert branch.rank >= 0 or branch.children
        for child in branch.children.values():
            check(child)

    for branch in branches(ranked(some)).values():
        check(branch)


@given(st.sets(routes, max_size=20), routes)
def test_a_node_leaves_with_all_below_it(some: set[Route], leaving: Route) -> None:
    tree = Tree()
    for path in some:
        tree.arrive(path, node(str(path)))
    gone = tree.leave(leaving)
    assert gone == sorted(path for path in some if path[: len(leaving)] == leaving)
    for child in range(1, 5):
        assert tree.count(child) == sum(path[0] == child for path in some - set(gone))
    assert tree.routes() == sorted(some - set(gone))
    assert len(tree) == len(some) - len(gone)


def test_a_node_that_comes_back_is_known_anew() -> None:
    tree = Tree()
    tree.arrive(Route((1,)), node("old"))
    tree.arrive(Route((1,)), node("new"))
    assert tree[Route((1,))].name == "new"
    assert tree.items() == [(Route((1,)), node("new"))]


@given(st.lists(st.tuples(st.booleans(), routes), max_size=40), routes)
def test_the_index_knows_which_routes_lead_through_another(acts: list[tuple[bool, Route]], asked: Route) -> None:
    """A child that said again and again that a node was gone had its parent look at all nodes each time."""
    index, known = RouteIndex(), set[Route]()
    for adds, route in acts:
        (index.add if adds else index.remove)(route)
        (known.add if adds else known.discard)(route)
    assert index.through(asked) == sorted(route for route in known if route[: len(asked)] == asked)
    for route in known:
        index.remove(route)
    assert index._next == {}
