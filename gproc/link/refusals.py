"""Decides which refusals get a line in the log.  Pure.

A slave that is refused dials again, for hours: an id that is taken, or a certificate of another cluster, stays wrong
until a person changes it.  The first refusal is logged, and then the tenth, the hundredth, the thousandth.  An attacker
can make up a new reason for each refusal.  So the lines of each host or user are bounded, and those of all together.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gproc.link.allowance import Allowance

REMEMBERED_MAX: Final = 1000
"""The most refusals that are counted at a time.  The one that came the longest time ago is forgotten first."""

LINES_OF_HOST: Final = 200
LINES: Final = 1000
"""Lines at once, of one host or user and of all: enough for a rack that was set up wrongly."""

LINE_OF_HOST_S: Final = 5.0
LINE_S: Final = 1.0
"""Seconds until one more line: of all together at most some 15 MB a day."""


class Refusals:
    """Counts refusals by the host or user that they are about, and by the reason."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._allowed: OrderedDict[str, Allowance] = OrderedDict()
        self._allowed_all: Allowance | None = None

    def note(self, host: str, reason: str, now_s: float) -> str | None:
        """Count a refusal.  Returns the reason for the log, with the count if it is not the first; None: do not log.

        now_s: of a clock that runs evenly.
        """
        key = (host, reason)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        self._counts.move_to_end(key)
        if len(self._counts) > REMEMBERED_MAX:
            self._counts.popitem(last=False)
        if (count != 1 and not _is_power_of_ten(count)) or not self.may_log(host, now_s):
            return None
        return reason if count == 1 else f"{reason} ({count} times by now)"

    def forget(self, host: str) -> None:
        """A node of this host was taken in: its next refusal is news."""
        for key in [key for key in self._counts if key[0] == host]:
            del self._counts[key]

    def may_log(self, host: str, now_s: float) -> bool:
        """Take one of the lines that this host has.  For refusals that are not expected to come again."""
        if self._allowed_all is None:
            self._allowed_all = Allowance(LINES, LINE_S, now_s)
        own = self._allowed.setdefault(host, Allowance(LINES_OF_HOST, LINE_OF_HOST_S, now_s))
        self._allowed.move_to_end(host)
        if len(self._allowed) > REMEMBERED_MAX:
            self._allowed.popitem(last=False)
        if not own.holds_one(now_s) or not self._allowed_all.holds_one(now_s):
            return False
        own.take()
        self._allowed_all.take()
        return True


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"
