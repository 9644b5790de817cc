"""Slow edges of a broadcast, and the children whose links make them slow.  Pure.

An edge is slow if little comes over it although its source has much that its child lacks.  Either end can be the
cause.  An end is not the cause if enough passes through it altogether; the parent never is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from gproc.spread.progress import Received

T = TypeVar("T")


class Edge(NamedTuple, Generic[T]):
    """One stripe's way from a source to a child.  source: None is the parent."""

    source: T | None
    child: T
    stripe: int


class Evidence(msgspec.Struct, Generic[T], frozen=True):
    """What was measured within one window.

    sent: bytes per second that each node sent to healthy children.
    enough: bytes per second; a node that sends or receives this much is not slow.
    """

    slow_edges: Sequence[Edge[T]]
    received: Mapping[T, Received]
    sent: Mapping[T | None, float]
    enough: float


def slow_children(evidence: Evidence[T]) -> list[T]:
    """The children at fault, the slowest first."""
    slow_edges_of = Counter(edge.source for edge in evidence.slow_edges)
    blamed: dict[T, float] = {}
    unclear: list[tuple[T, T, int]] = []
    for source, child, stripe in evidence.slow_edges:
        received = evidence.received[child].rate()
        if source is None or evidence.sent[source] >= evidence.enough:
            if received < evidence.enough:
                blamed[child] = received
        elif received < evidence.enough:
            unclear.append((source, child, stripe))
        elif slow_edges_of[source] > 1:
            blamed[source] = evidence.sent[source]
    _decide_unclear(unclear, evidence, slow_edges_of, blamed)
    return sorted(blamed, key=blamed.__getitem__)


def _decide_unclear(
    unclear: list[tuple[T, T, int]], evidence: Evidence[T], slow_edges_of: Counter[T | None], blamed: dict[T, float]
) -> None:
    """Blame an end of each edge at whose both ends too little passes, if one of them has another slow edge."""
    slow_edges_to = Counter(child for _, child, _ in unclear)
    for source, child, stripe in unclear:
        if source in blamed or child in blamed:
            continue
        if slow_edges_to[child] > 1:
            blamed[child] = evidence.received[child].rate()
        elif not evidence.received[child].missing_before[1 - stripe] and slow_edges_of[source] > 1:
            # The child received its other stripe without trouble.  If that stripe is still on its way, the child itself
            # may be slow.
            blamed[source] = evidence.sent[source]
