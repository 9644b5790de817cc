"""A slave whose parent has no way to the master looks for one itself: the timer and the connection of `node.detour`."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from gproc.errors import LinkLost
from gproc.node.detour import TELL_S, Detour
from gproc.node.leasing import Leasing
from gproc.node.uplink import Uplink
from gproc.relay.children import Children
from gproc.trust.lease import boottime_s
from gproc.wire.messages import CutOff

log = logging.getLogger("gproc")


class Wayfinding:
    """One slave's.  children: they hear it if this node is cut off."""

    def __init__(self, uplink: Uplink, leasing: Leasing, children: Children) -> None:
        self._uplink = uplink
        self._leasing = leasing
        self._children = children
        self._rule = Detour()
        self._timer: asyncio.TimerHandle | None = None
        self._going: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def told(self) -> None:
        """The parent says that it is cut off."""
        if self._rule.told(boottime_s()):
            self._news.set()
        if self._timer is None:
            self.look()

    def arrived(self) -> None:
        """The master has given this node its place, by way of the present parent."""
        self._rule = Detour()

    def look(self) -> None:
        """This node may be cut off, or its lease overdue."""
        self.stop()
        now_s, is_overdue = boottime_s(), self._leasing.is_overdue
        if self._uplink.is_cut_off or self._rule.is_cut_off(now_s):
            for child in self._children:
                child.link.send(CutOff())
        may_go = self._uplink.control is not None and not self._uplink.is_at_master
        if may_go and self._going is None and self._rule.may_try(now_s, overdue=is_overdue):
            self._going = asyncio.create_task(self._go())
        if self._uplink.is_cut_off or self._rule.is_told(now_s):
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self.look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self.stop()
        if self._going is not None:
            self._going.cancel()

    async def _go(self) -> None:
        try:
            await self._go_round(self._rule)
        finally:
            self._going = None

    async def _go_round(self, rule: Detour) -> None:
        parent = self._uplink.control
        if not await self._reaches(rule):
            return
        confirm_s = rule.reached(len(self._uplink.membership.place), boottime_s())
        if confirm_s:
            # A connection that says nothing would keep others from the master, and first of all the parent.
            self._uplink.stay()
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(confirm_s):
                    await self._news.wait()
            if not self._is_needed(rule) or not await self._reaches(rule):
                return
        if self._is_needed(rule) and parent is not None and self._uplink.control is parent:
            self._uplink.go_to_master("it has no way to the master, and this node has")
        else:
            self._uplink.stay()

    async def _reaches(self, rule: Detour) -> bool:
        """Whether the master was reached: then there is a connection to it."""
        try:
            is_reached = await self._uplink.reach_master()
        except LinkLost as error:
            log.debug("the parent has no way to the master, nor has this node: %s", error)
            rule.failed(answered=False)
            return False
        if not is_reached:
            rule.failed(answered=True)
        return is_reached

    def _is_needed(self, rule: Detour) -> bool:
        """A grant may have come meanwhile: then there is another rule."""
        return rule is self._rule and (rule.is_told(boottime_s()) or self._leasing.is_overdue)
