"""Notices a parent that does not pass on how programs of this node have ended.

With each lease the master says of which jobs it awaits the end and would take it at once.  If a program's end, with all
its output, was sent before the first of two leases, and the master still awaits it in both, a relay on the way keeps
it: two questions lie 15 s apart, and an honest tree needs a second.  The node then looks for another parent, and sends
it the same again.  If the parent was only slow, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from gproc.node.admitted import Admitted
from gproc.trust.lease import Lease


class Unheard:
    """One slave's."""

    def __init__(self) -> None:
        self._before: frozenset[int] = frozenset()

    def heard(self, lease: Lease, jobs: Iterable[Admitted]) -> str:
        """Why the parent must be left; "" if it need not."""
        reported = (each.ticket.job for each in jobs if each.program is not None and each.program.reported)
        kept = frozenset(reported).intersection(lease.awaited)
        twice, self._before = kept & self._before, kept
        if not twice:
            return ""
        self._before = frozenset()
        return f"it does not pass on how job {min(twice)} has ended here"
