"""A job waits a moment for nodes that change their parents just now: a node goes back to its own when it has no job."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from gproc.errors import SpecError
from gproc.nodespec import NodeSpec, Place
from gproc.request.spec import Request
from gproc.service.absences import Absences
from gproc.service.registry import with_parents

RETURN_S: Final = 2.0
"""A node that is not back by then does not change its parent: it is gone.  A move takes 0.3 s; if all is busy, 1 s."""

MOVING_MAX: Final = 1000
"""If more nodes went just now, it is no move; and it would take 1 s to find which of them each of a hundred jobs
means."""

LOOK_S: Final = 0.03
"""Between two looks."""


async def await_moving(absences: Absences, request: Request) -> None:
    """If nodes of a request went just now, wait until they are back, or have been away for so long that they are
    gone."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + RETURN_S
    wanted = _wanted(absences.since(time.time() - RETURN_S), request)
    for place in wanted:
        # A look costs a microsecond, no matter how many jobs wait for how many nodes.
        while absences.is_absent_since(place, time.time() - RETURN_S) and loop.time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


def _wanted(gone: list[Place], request: Request) -> frozenset[Place]:
    """The nodes that a request means."""
    if not 0 < len(gone) <= MOVING_MAX:
        return frozenset()
    try:
        exclusion = NodeSpec.parse_exclusion(request.exclude) if request.exclude else None
        selected = NodeSpec.parse(request.nodes).select(with_parents(gone), exclusion)
    except SpecError:
        return frozenset()  # it is told when the nodes are chosen
    return frozenset(map(Place, selected)).intersection(gone)
