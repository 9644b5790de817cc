"""What a person is told of nodes that are not there."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gproc.shown import shown_text


def absent_lines(absent: Sequence[tuple[str, float, str]]) -> list[str]:
    """What a person is told of nodes that "." would have meant.  absent: as of `Accepted`."""
    return [f"{nodes}: not there since {clock_text(since_s)}: {shown_text(why)}" for nodes, since_s, why in absent]


def clock_text(moment_s: float) -> str:
    """A time of today as 12:30:00; an earlier one with its date."""
    moment, today = time.localtime(moment_s), time.localtime()
    same_day = (moment.tm_year, moment.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", moment)
