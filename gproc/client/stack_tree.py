"""The stacks of a job's ranks as one tree of what they have in common, and which ranks are elsewhere.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gproc.wire.stacks import JobStacks, Ranks


def ranks_in(ranges: Ranks, size: int) -> list[int]:
    """The ranks in these ranges that a job of this size has."""
    return [rank for first, last in ranges for rank in range(first, min(last + 1, size))]


class StackNode:
    """One frame, and what comes below it.  threads: those at it or below it.  ends: whether some end here."""

    def __init__(self, frame: str) -> None:
        self.frame = frame
        self.ranks: set[int] = set()
        self.threads = 0
        self.ends = False
        self._below: dict[str, StackNode] = {}

    def at(self, frame: str) -> StackNode:
        return self._below.setdefault(frame, StackNode(frame))

    @property
    def below(self) -> list[StackNode]:
        """The frames below, those of few ranks first."""
        return sorted(self._below.values(), key=lambda node: (len(node.ranks), node.frame))


def tree_of(stacks: JobStacks) -> StackNode:
    """The root has no frame."""
    root = StackNode("")
    for row in stacks.rows:
        ranks = ranks_in(row.ranks, len(stacks.places))
        node = root
        for frame in row.frames:
            node = node.at(frame)
            node.ranks.update(ranks)
            node.threads += row.threads
        node.ends = True
    return root


def groups_of(stacks: JobStacks) -> list[list[int]]:
    """The ranks that have all their threads at the same places, the smallest group first.

    A rank that shows nothing and says why is in none, because it is not known where it is.
    """
    unknown = _explained(stacks).intersection(without_rows(stacks))
    ranks = ranks_in(stacks.ranks, len(stacks.places))
    places: dict[int, list[int]] = {rank: [] for rank in ranks if rank not in unknown}
    for number, row in enumerate(stacks.rows):
        for rank in ranks_in(row.ranks, len(stacks.places)):
            if rank in places:
                places[rank].append(number)
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank, rows in places.items():
        groups.setdefault(tuple(rows), []).append(rank)
    return sorted(groups.values(), key=lambda ranks: (len(ranks), ranks))


def elsewhere_of(groups: Sequence[Sequence[int]]) -> list[int]:
    """The ranks that are not where most are; none if no place has most."""
    if len(groups) < 2 or 2 * len(groups[-1]) <= sum(map(len, groups)):
        return []
    return sorted(rank for group in groups[:-1] for rank in group)


def chains_of(root: StackNode) -> Iterator[tuple[int, list[str], StackNode]]:
    """Depth, frames and the last of their nodes: what follows on a frame without a branch is in one chain with it."""
    stack = [(0, node) for node in reversed(root.below)]
    while stack:
        depth, node = stack.pop()
        frames = [node.frame]
        while len(below := node.below) == 1 and not node.ends and below[0].ranks == node.ranks:
            node = below[0]
            frames.append(node.frame)
        yield depth, frames, node
        stack += [(depth + 1, each) for each in reversed(node.below)]


def without_place(stacks: JobStacks) -> list[int]:
    """The ranks that answer and have no process.  A rank that says why it shows nothing may have some."""
    explained = _explained(stacks)
    return [rank for rank in without_rows(stacks) if rank not in explained]


def without_rows(stacks: JobStacks) -> list[int]:
    """The ranks that answer and show nothing."""
    shown = {rank for row in stacks.rows for rank in ranks_in(row.ranks, len(stacks.places))}
    return [rank for rank in ranks_in(stacks.ranks, len(stacks.places)) if rank not in shown]


def _explained(stacks: JobStacks) -> set[int]:
    """The ranks that say why they do not show all."""
    return {rank for each in stacks.remarks for rank in ranks_in(each.ranks, len(stacks.places))}
