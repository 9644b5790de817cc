"""The tree as the master knows it.  Pure.

Paths lead from the master down: (1, 7) is node 7 below node 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gproc.nodespec import Path
from gproc.wire.messages import Branch, NodeInfo

RELAY_ONLY = -1


class Tree:
    """Connected nodes by path; a node is here only while all those above it are."""

    def __init__(self) -> None:
        self._nodes: dict[Path, NodeInfo] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, path: Path) -> NodeInfo:
        return self._nodes[path]

    def arrive(self, path: Path, node: NodeInfo) -> None:
        self._nodes[path] = node

    def leave(self, path: Path) -> list[Path]:
        """Remove a node and all below it; what was removed, parents first."""
        gone = sorted(known for known in self._nodes if known[: len(path)] == path)
        for known in gone:
            del self._nodes[known]
        return gone

    def paths(self) -> list[Path]:
        """Parents before children, siblings by number."""
        return sorted(self._nodes)

    def items(self) -> list[tuple[Path, NodeInfo]]:
        return sorted(self._nodes.items())


def branches(ranks: Mapping[Path, int]) -> dict[int, Branch]:
    """What each node of the first level is told of a job: DESIGN section 4, each hop only its own subtree's part."""
    roots: dict[int, Branch] = {}
    made: dict[Path, Branch] = {}
    for path in sorted(ranks):
        for depth in range(1, len(path) + 1):
            here = path[:depth]
            if here in made:
                continue
            branch = Branch(ranks.get(here, RELAY_ONLY), {})
            made[here] = branch
            above = roots if depth == 1 else made[here[:-1]].children
            above[here[-1]] = branch
    return roots


def number(paths: Iterable[Path]) -> dict[Path, int]:
    """Ranks from 0, parents before children."""
    return {path: rank for rank, path in enumerate(sorted(paths))}
