"""Nodes that gproc start has not started: the message if gproc is asked to end them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from gproc.errors import GprocError
from gproc.nodespec import NodeSpec, format_path
from gproc.shown import shown_text
from gproc.start.master import tree_for_hint, tree_of
from gproc.start.node import NONE_RAN, Result, Stage
from gproc.start.plan import Standing
from gproc.wire.messages import NodeState, TreeState

NAMED_MAX: Final = 5


def those_by_hand(socket_path: str, spec: NodeSpec, hosts: Collection[str] = ()) -> str:
    """What follows a sentence about places or hosts that were not started, if nodes are connected there; else ""."""
    tree = tree_for_hint(socket_path)
    rows = [row for row in tree.nodes if spec.selects(row.place) or row.node.name in hosts] if tree else []
    return f": {_told(rows)}" if rows else ""


def judging(socket_path: str) -> Callable[[Standing, Result], Awaitable[Result]]:
    """Begins before hosts are asked.  A host on which no slave of ours ran was not stopped if another stands there.

    The master is asked again then: that one may have ended meanwhile.
    """
    before = tree_for_hint(socket_path)

    async def judged(standing: Standing, result: Result) -> Result:
        if result.reason != NONE_RAN or before is None:
            return result
        rows = [row for row in before.nodes if row.place == standing.place or row.node.name == standing.name]
        if rows:
            with suppress(GprocError):  # a master that does not answer says nothing else
                now = await asyncio.to_thread(tree_of, socket_path)
                rows = [row for row in rows if now is not None and _may_run(row, now)]
        return msgspec.structs.replace(result, stage=Stage.FAILED, reason=_told(rows)) if rows else result

    return judged


def _may_run(row: NodeState, now: TreeState) -> bool:
    """Whether the slave of that row is there still, or on its way to another parent."""
    there = {each.node.name for each in now.nodes} | {each.node.name for each in now.absent if each.may_run}
    return row.node.name in there


def _told(rows: Sequence[NodeState]) -> str:
    named = ", ".join(f"{format_path(row.place)} ({row.node.name})" for row in rows[:NAMED_MAX])
    named += ", ..." if len(rows) > NAMED_MAX else ""
    was = "was" if len(rows) == 1 else "were"
    return shown_text(
        f"{named} {was} not started by gproc start: end gproc s there as it was begun (systemctl stop), or by SIGTERM"
    )
