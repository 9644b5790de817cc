"""Words for people about nodes that are not there, take no jobs or cannot be reached, and about output not kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from gproc.client.events import Skipped, Unreached
from gproc.naming.naming import Naming
from gproc.nodespec import NodeSpec, Path
from gproc.shown import shown_text
from gproc.wire.tree_rows import NodeDrained


def absent_lines(absent: Sequence[tuple[str, float, str]]) -> list[str]:
    """What a person is told of nodes that "." would have meant.  absent: as of `Accepted`."""
    return [f"{nodes}: not there since {clock_text(since_s)}: {shown_text(why)}" for nodes, since_s, why in absent]


def drained_lines(drained: Sequence[tuple[str, NodeDrained]]) -> list[str]:
    """What a person is told of nodes that take no new jobs.  drained: as of `Accepted`."""
    return [f"{nodes}: drained {drained_text(why)}" for nodes, why in drained]


def drained_text(why: NodeDrained) -> str:
    """Since when a node is drained, by which user, and why."""
    reason = f": {shown_text(why.reason)}" if why.reason else ""
    return f"since {clock_text(why.since_s)} by {user_of(why.uid)}{reason}"


@cache
def user_of(uid: int) -> str:
    """The name of a user, asked for here: the master must not wait for a name service."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@lru_cache(1)
def _today(now_s: int) -> time.struct_time:
    """Cached, because a table may have 10,000 rows."""
    return time.localtime(now_s)


def clock_text(moment_s: float) -> str:
    """A time of today as 12:30:00; an earlier one with its date."""
    moment, today = time.localtime(moment_s), _today(int(time.time()))
    same_day = (moment.tm_year, moment.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", moment)


def without_part(nodes: str, places: Iterable[Path], job: int | None, naming: Naming) -> list[str]:
    """What a person is told of nodes that were named and on which a job has no part.  nodes: a specification."""
    if not nodes:
        return []
    with_parents = {Path(place[:level]) for place in places for level in range(1, len(place) + 1)}
    missing = NodeSpec.parse(nodes).missing(sorted(with_parents))
    return [f"{naming.refold(missing)}: job {job} has no part there"] if missing else []


def unreached_text(event: Unreached) -> str:
    """Words for people about nodes that cannot be reached, or are reached again."""
    if not event.until_s:
        return f"{event.nodes}: reached again"
    until = time.strftime("%H:%M:%S", time.localtime(event.until_s))
    return f"{event.nodes}: cannot be reached: {event.reason}; may run until {until}"


def skipped_text(event: Skipped) -> str:
    """Words for people about output that was not kept."""
    if not event.stream:
        return f"all of its output, {event.size} bytes, was dropped: there was no room to keep it"
    return f"{event.node}: {event.size} bytes of {event.stream} are missing here: there was no room to keep them"
