"""Decides which refusals get a line in a parent's log.  Pure.

A slave that is refused dials again, for hours: an id that is taken, or a certificate of another cluster, stays wrong
until a person changes it.  The first refusal is logged, and then the tenth, the hundredth, the thousandth.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

REMEMBERED_MAX: Final = 1000
"""The most refusals that are counted at a time.  The one that came the longest time ago is forgotten first."""


class Refusals:
    """Counts refusals by the host that dialled and the reason."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def note(self, host: str, reason: str) -> str | None:
        """Count a refusal.  Returns the reason for the log, with the count if it is not the first; None: do not log."""
        key = (host, reason)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        self._counts.move_to_end(key)
        if len(self._counts) > REMEMBERED_MAX:
            self._counts.popitem(last=False)
        if count == 1:
            return reason
        return f"{reason} ({count} times by now)" if _is_power_of_ten(count) else None

    def forget(self, host: str) -> None:
        """A node of this host was taken in: its next refusal is news."""
        for key in [key for key in self._counts if key[0] == host]:
            del self._counts[key]


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"
