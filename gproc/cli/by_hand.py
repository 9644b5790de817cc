"""Nodes that gproc start has not started: what is said if it is asked to end them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from gproc.nodespec import NodeSpec, format_path
from gproc.shown import shown_text
from gproc.start.node import NONE_RAN, Result, Stage
from gproc.start.plan import Standing
from gproc.wire.messages import NodeState, TreeState

NAMED_MAX: Final = 5


def those_by_hand(tree: TreeState | None, spec: NodeSpec, hosts: Collection[str] = ()) -> str:
    """What follows a sentence about places or hosts that were not started, if nodes are connected there; else ""."""
    rows = [row for row in tree.nodes if spec.selects(row.place) or row.node.name in hosts] if tree else []
    return f": {_told(rows)}" if rows else ""


def judging(tree: TreeState | None) -> Callable[[Standing, Result], Result]:
    """tree: as it was before.  A host on which no slave of ours ran was not stopped if another slave stands there."""

    def judged(standing: Standing, result: Result) -> Result:
        if result.reason != NONE_RAN or tree is None:
            return result
        rows = [row for row in tree.nodes if row.place == standing.place or row.node.name == standing.name]
        return msgspec.structs.replace(result, stage=Stage.FAILED, reason=_told(rows)) if rows else result

    return judged


def _told(rows: Sequence[NodeState]) -> str:
    named = ", ".join(f"{format_path(row.place)} ({row.node.name})" for row in rows[:NAMED_MAX])
    named += ", ..." if len(rows) > NAMED_MAX else ""
    was = "was" if len(rows) == 1 else "were"
    return shown_text(
        f"{named} {was} not started by gproc start: end gproc s there as it was begun (systemctl stop), or by SIGTERM"
    )
