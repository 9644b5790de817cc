"""Keeps a slave's lease: asks the master for it in time, and tells its owner when it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gproc.launch.launcher import Launcher
from gproc.node.uplink import Uplink
from gproc.relay.membership import SlaveState
from gproc.trust.lease import Lease, boottime_s
from gproc.trust.ticket import Grant, TicketVerifier
from gproc.wire.messages import AskLease, Route, Signed

log = logging.getLogger("gproc")


class Leasing:
    """The timers of a lease.  What the master says comes in by `granted` and `take`.

    over: called when the lease has ended, so that no program may run here any more.  Returns whether there were jobs.
    asking: called as the master is asked.
    """

    def __init__(
        self, verifier: TicketVerifier, launcher: Launcher, uplink: Uplink, over: Callable[[], bool],
        asking: Callable[[], None],
    ) -> None:  # fmt: skip
        self._verifier = verifier
        self._launcher = launcher
        self._uplink = uplink
        self._over = over
        self._asking = asking
        self._renewing: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._answer_by_s = 0.0
        """When the first lease of a grant is to be here at the latest."""

    @property
    def is_overdue(self) -> bool:
        """Whether half of the lease is over, although the master was asked for another one."""
        return boottime_s() >= self._verifier.lease.ends_s - self._verifier.lease.lease_s / 2

    def granted(self, grant: Grant) -> None:
        """A grant is a lease too, and from now on the master can be asked for the next one."""
        self._prolong()
        self._answer_by_s = boottime_s() + grant.lease_s
        self._renew()

    def take(self, signed: Signed) -> Lease | None:
        """The master's answer.  None: it answers no question of this node, or came too late.  Raises: TicketRefused."""
        lease = self._verifier.accept_lease(signed)
        if lease is not None:
            self._prolong()
        return lease

    def stop(self) -> None:
        for timer in (self._renewing, self._ending):
            if timer is not None:
                timer.cancel()

    def _prolong(self) -> None:
        """Programs may run until the lease ends."""
        ends_s = self._verifier.lease.ends_s
        self._launcher.prolong(ends_s)
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.get_running_loop().call_later(max(0.0, ends_s - boottime_s()), self._ends)

    def _ends(self) -> None:
        if boottime_s() < self._verifier.lease.ends_s:
            self._prolong()  # the loop's clock stands still while the machine is suspended
            return
        lease_s = self._verifier.lease.lease_s
        if self._over():
            log.warning("the master has not answered for %.0f s: jobs end here", lease_s)
            # If there is a parent again, it may have sent these jobs just now.  Nodes below still have parts of them,
            # and the master sends all jobs once more to a node that joins.
            self._uplink.abandon(f"jobs have ended here, because the master had not answered for {lease_s:.0f} s")

    def _renew(self) -> None:
        """Ask for a lease, again and again while there is a parent.  Without a lease, leave the parent: jobs end."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._uplink.membership.state is not SlaveState.GRANTED:
            return
        if boottime_s() >= max(self._answer_by_s, self._verifier.lease.ends_s):
            self._uplink.abandon(f"the master has not answered for {self._verifier.lease.lease_s:.0f} s")
            return
        self._uplink.send(AskLease(Route(()), self._verifier.ask_lease()))
        self._asking()
        self._renewing = asyncio.get_running_loop().call_later(self._verifier.lease.ask_s, self._renew)
        if self.is_overdue:
            self._uplink.look_for_way()
