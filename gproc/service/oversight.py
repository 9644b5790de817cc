"""Which users see and act on the jobs of others: root, the user who runs the master, and operators of the policy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gproc.request.spec import Caller

if TYPE_CHECKING:
    from gproc.policy.rules import PolicyOversight
    from gproc.policy.warden import Warden
    from gproc.records.record import KeptJob


class Oversight:
    """Asks the policy anew for each question."""

    def __init__(self, warden: Warden) -> None:
        self._warden = warden
        self._trusted = frozenset({0, os.geteuid()})

    def is_master_of(self, caller: Caller, owner: int) -> bool:
        """Whether a caller has all rights over a job of that user: to type into it, and to remove its record."""
        return caller.uid == owner or caller.uid in self._trusted

    def may(self, caller: Caller, oversight: PolicyOversight) -> bool:
        """Whether a caller may do this with the jobs of all users."""
        return caller.uid in self._trusted or self._warden.oversees(caller, oversight)

    def may_with(self, caller: Caller, oversight: PolicyOversight, owner: int) -> bool:
        """Whether a caller may do this with a job of that user."""
        return caller.uid == owner or self.may(caller, oversight)

    def note(self, act: PolicyOversight, caller: Caller, record: KeptJob, **facts: object) -> None:
        """Note it in the audit trail, if the job is another user's."""
        if caller.uid != record.uid:
            self._warden.oversaw(act, record.number, caller, record.nodes, record.uid, **facts)
