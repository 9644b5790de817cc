"""The master's picture of the tree, and what it tells each hop of a job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Path
from gproc.tree import Tree, branches, number
from gproc.wire.messages import Branch, NodeInfo

paths = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def node(name: str) -> NodeInfo:
    return NodeInfo(name, "", b"", "", 0.0)


def walk(branch: Branch, path: Path) -> dict[Path, int]:
    found = {} if branch.rank < 0 else {path: branch.rank}
    for id, child in branch.children.items():
        found |= walk(child, (*path, id))
    return found


@given(st.sets(paths, max_size=20))
def test_the_branches_of_a_job_hold_every_rank_at_its_own_path(some: set[Path]) -> None:
    ranks = number(some)
    assert sorted(ranks.values()) == list(range(len(some)))
    found: dict[Path, int] = {}
    for id, branch in branches(ranks).items():
        found |= walk(branch, (id,))
    assert found == ranks


@given(st.sets(paths, min_size=1, max_size=20))
def test_no_branch_leads_to_nothing(some: set[Path]) -> None:
    def check(branch: Branch) -> None:
        assert branch.rank >= 0 or branch.children
        for child in branch.children.values():
            check(child)

    for branch in branches(number(some)).values():
        check(branch)


@given(st.sets(paths, max_size=20), paths)
def test_a_node_leaves_with_all_below_it(some: set[Path], leaving: Path) -> None:
    tree = Tree()
    for path in some:
        tree.arrive(path, node(str(path)))
    gone = tree.leave(leaving)
    assert gone == sorted(path for path in some if path[: len(leaving)] == leaving)
    assert tree.paths() == sorted(some - set(gone))
    assert len(tree) == len(some) - len(gone)


def test_a_node_that_comes_back_is_known_anew() -> None:
    tree = Tree()
    tree.arrive((1,), node("old"))
    tree.arrive((1,), node("new"))
    assert tree[1,].name == "new"
    assert tree.items() == [((1,), node("new"))]
