"""The warden of one daemon: it lets a job run or refuses it, and keeps records."""

from __future__ import annotations

import os
from collections.abc import Collection

from gproc.errors import GprocError
from gproc.nodespec import Place
from gproc.policy.asking import AccountDesk
from gproc.policy.audit import AuditTrail, command_of
from gproc.policy.file import PolicyFile, policy_place
from gproc.policy.rules import PolicyLimits, PolicyOversight
from gproc.request.spec import Caller, Request


class Warden:
    """Knows the policy as its file is now."""

    def __init__(self, daemon: str) -> None:
        """daemon: "master" or "slave"."""
        self._file = PolicyFile(policy_place(os.environ))
        self._trail = AuditTrail(daemon)
        self._accounts = AccountDesk()

    def announce(self) -> None:
        """Say in the log which policy holds; called once, when the daemon is up."""
        self._file.announce()

    def allow(self, caller: Caller, request: Request, places: Collection[Place], running: int = 0) -> Request:
        """The request as it may run.  running: the caller's jobs.

        Raises: GprocError with the reason why it may not run.
        """
        policy = self._file.current()
        return request if policy is None else policy.apply(caller, request, places, running)

    @property
    def asks_accounts(self) -> bool:
        """Whether `check_account` may take a while."""
        try:
            policy = self._file.current()
        except GprocError:
            return False
        return policy is not None and bool(policy.text.pam)

    async def check_account(self, caller: Caller) -> None:
        """Ask PAM, if the policy says so, whether the caller's account may be used.  Raises: GprocError if not."""
        policy = self._file.current()
        if policy is not None and policy.text.pam:
            await self._accounts.check(policy.text.pam, caller.uid)

    def oversees(self, caller: Caller, oversight: PolicyOversight) -> bool:
        """Whether the policy lets a caller do this with the jobs of others."""
        try:
            policy = self._file.current()
        except GprocError:
            return False
        return policy is not None and policy.lets(caller, oversight)

    def limits(self) -> PolicyLimits:
        try:
            policy = self._file.current()
        except GprocError:  # no job runs
            policy = None
        return PolicyLimits() if policy is None else policy.text.limits

    def began(self, job: int, caller: Caller, request: Request, nodes: str) -> None:
        self._record("start", job, caller, nodes, **command_of(request))

    def refused(self, job: int, caller: Caller, request: Request, nodes: str, reason: str) -> None:
        """job: 0 if it has no number."""
        self._record("refuse", job, caller, nodes, **command_of(request), reason=reason)

    def ended(self, job: int, caller: Caller, nodes: str, outcomes: dict[str, int], status: int) -> None:
        """outcomes: how many nodes ended in each way.  status: the highest of them."""
        self._record("end", job, caller, nodes, outcomes=outcomes, status=status)

    def oversaw(self, act: PolicyOversight, job: int, caller: Caller, nodes: str, owner: int, **facts: object) -> None:
        """A user other than its owner has seen a job's output, or has sent it a signal."""
        self._record(act, job, caller, nodes, owner=owner, **facts)

    def _record(self, act: str, job: int, caller: Caller, nodes: str, **facts: object) -> None:
        try:
            policy = self._file.current()
        except GprocError:  # no job runs, and where records would go is not known
            return
        if policy is not None and policy.text.audit:
            self._trail.write(policy.text.audit, act=act, job=job, uid=caller.uid, nodes=nodes, **facts)
