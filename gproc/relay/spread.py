"""Who feeds whom among the children of one node, for a payload that is worth it.  Pure.

A star of n children puts n payloads on their parent's link.  Here the payload has two stripes (chunks of even and
of odd number), and each stripe comes down a binary tree of its own through the children, whose inner nodes are the
leaves of the other's: so the parent sends each stripe once, every child sends about as much as it receives, and the
last child is log2(n) hops away, not n.  (Two-tree broadcast: Sanders, Speck and Träff, Parallel Computing 35, 2009.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

MIN_SPREAD_BYTES: Final = 4 << 20
"""From this size on, children feed each other: bench/transfer.py.  Below it, connections cost more than they save."""

MIN_CHILDREN: Final = 2
"""Of two children, each gives the other the half that it was sent: their parent sends one payload instead of two."""

T = TypeVar("T")


def feeders(children: Sequence[T]) -> dict[T, tuple[T | None, ...]]:
    """For each child, who feeds it each stripe; None: the parent.

    Stripe 0 goes down a heap over the children in their order, stripe 1 down one in the opposite order, so that who
    is in the first half is an inner node of the one and a leaf of the other.
    """
    count = len(children)
    plan: dict[T, tuple[T | None, ...]] = {}
    for place, child in enumerate(children):
        mirrored = count - 1 - place
        first = None if place == 0 else children[(place - 1) // 2]
        second = None if mirrored == 0 else children[count - 1 - (mirrored - 1) // 2]
        plan[child] = (first, second)
    return plan
