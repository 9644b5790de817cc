"""A slave's connections to its parent: dials them, watches them, and dials again if `relay.membership` decides so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Final, Protocol, assert_never

from gproc.errors import GprocError, LinkLost, PeerError, TrustError
from gproc.link.connection import Link, Receiver
from gproc.nodespec import format_path
from gproc.relay.membership import (
    AnnounceSubtree,
    DialAfter,
    DialFailed,
    GiveUp,
    Membership,
    ParentLost,
    PlaceGranted,
    Redial,
    SlaveEffect,
    SlaveState,
    Stopped,
    Suspend,
    Tell,
    Welcomed,
)
from gproc.relay.parent import Dialer, NotAdmitted
from gproc.trust.ticket import Ancestor
from gproc.wire.directions import ParentToChild
from gproc.wire.messages import Join, Message, Welcome

log = logging.getLogger("gproc")

LAST_WORD_S: Final = 0.5
"""Seconds for which the slave still reads the control connection after it has lost the bulk connection."""

NO_ANSWER_S: Final = 2.0
"""A master's machine that has not even taken a connection for this long is out of reach."""

BEHIND_BYTES: Final = 4 << 20
"""Unsent bytes for the parent, from which on no question for a lease goes on.  To announce 5,000 nodes takes 3.5 MB."""

PLACE_WITHIN_S: Final = 15.0
"""Seconds within which the master gives an adopted node its place again.  In a busy tree of 5,000 nodes that takes
seconds."""


class UplinkOwner(Protocol):
    """What an uplink needs of its slave."""

    def join_request(self) -> Join: ...

    def announce_subtree(self) -> None:
        """Tell the new parent of every node below."""

    def suspend(self) -> None:
        """The parent is lost: what jobs say waits until there is another one."""

    def look_for_way(self) -> None:
        """This node is cut off, or the master does not answer it."""


class Uplink:
    """One slave's connections to its parent, or to another node above it.

    `control` and `bulk` are None while it has none.
    is_cut_off: whether there is no parent, and the master's machine does not answer.
    """

    def __init__(self, dialer: Dialer, id: int | None, owner: UplinkOwner, receiver: Receiver[ParentToChild]) -> None:
        """receiver: gets what the parent sends; its `on_lost` must call `lost`."""
        self.membership = Membership(id, dialer.ways)
        self.control: Link | None = None
        self.bulk: Link | None = None
        self.is_cut_off = False
        self._dialer = dialer
        self._owner = owner
        self._receiver = receiver
        self._lost: asyncio.Future[None] | None = None
        self._pause_s = 0.0

    @property
    def where(self) -> str:
        """The node that is the parent, or is dialled next."""
        return self.membership.ways[self.membership.way]

    def status(self) -> str:
        """In a clause, for a person."""
        if self.control is None:
            return f"not in the tree, dials {self.where}"
        place = self.membership.place
        return f"node {format_path(place)}, joined {self.where}" if place else f"joined {self.where}"

    def is_behind(self) -> bool:
        """Whether so much waits for the parent that less should be said."""
        return self.control is not None and self.control.unsent_bytes > BEHIND_BYTES

    def is_open(self, link: Link) -> bool:
        """Whether this is a link to the present parent."""
        return link in (self.control, self.bulk)

    async def stay_joined(self) -> None:
        """Join, and join again each time the parent is lost.  Raises: NotAdmitted if the parent refuses us for good."""
        while True:
            self._lost = asyncio.get_running_loop().create_future()
            try:
                await self._dial()
                await self._lost
            except NotAdmitted as error:
                self._dialer.show_other()
                self._do(self.membership.handle(DialFailed(str(error), refused=True, final=error.final)))
            except TrustError as error:
                self._dialer.show_other()
                self._do(self.membership.handle(DialFailed(str(error), refused=True)))
            except (LinkLost, PeerError) as error:
                self._dialer.show_other()
                self._do(self.membership.handle(DialFailed(str(error))))
            log.debug("dials again in %.2f s", self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._do(self.membership.handle(Redial()))

    async def _dial(self) -> None:
        is_master = self.where == self._dialer.master
        watch = asyncio.get_running_loop().call_later(NO_ANSWER_S, self._look_for_answer, is_master)
        try:
            await self._join()
        except LinkLost:
            self._look_for_answer(is_master)
            raise
        finally:
            watch.cancel()

    async def _join(self) -> None:
        """Join the node that is dialled; fail if it says nothing and the one above answers.  Raises: as Dialer.join."""
        membership, request = self.membership, self._owner.join_request()
        joining = self._dialer.join(self.where, request, self._receiver, self._joined, membership.patience_s)
        join = asyncio.ensure_future(joining)
        beside = asyncio.ensure_future(self._reach_next())
        try:
            await asyncio.wait((join, beside), return_when=asyncio.FIRST_COMPLETED)
            if not join.done() and beside.result():
                raise LinkLost(f"{self.where} takes connections and says nothing, and {membership.next_way} answers")
            await join
            self._dialer.give_up()
        finally:
            for task in (join, beside):
                task.cancel()
            await asyncio.wait((join, beside))

    async def _reach_next(self) -> bool:
        """After a while, reach the node above the one that is dialled.  Returns whether it alone answers."""
        membership = self.membership
        if self.is_at_master:
            return False
        await asyncio.sleep(membership.beside_s)
        if self._dialer.is_heard:
            return False
        try:
            await self._dialer.reach_beside(membership.next_way, self._receiver)
        except (LinkLost, TrustError, PeerError):
            return False
        return not self._dialer.is_heard

    def _look_for_answer(self, is_master: bool) -> None:
        """Of the node that is dialled."""
        if is_master and self.control is None:
            self.is_cut_off = not self._dialer.answered
            if self.is_cut_off:
                self.look_for_way()

    def look_for_way(self) -> None:
        """The parent does not lead to the master, or there is none."""
        self._owner.look_for_way()

    async def reach_master(self) -> bool:
        """Open a connection to the master, for `go_to_master`, although there is a parent.

        Returns whether it was reached.  Raises: LinkLost if its machine did not answer.
        """
        try:
            async with asyncio.timeout(NO_ANSWER_S):
                await self._dialer.reach(self._dialer.master, self._receiver)
            return True
        except (LinkLost, TrustError, PeerError, TimeoutError) as error:
            if isinstance(error, TrustError):
                self._dialer.show_other()
            if not self._dialer.answered:
                raise LinkLost(f"{self._dialer.master} does not answer") from error
            return False

    def go_to_master(self, reason: str) -> None:
        """Leave this parent for the master."""
        self.membership.go_to(self._dialer.master)
        self.abandon(reason)

    def stay(self) -> None:
        """Close what `reach_master` has opened."""
        self._dialer.give_up()

    @property
    def is_at_master(self) -> bool:
        """Whether the master is the parent, or is dialled next; or no other one is known."""
        return self.where == self._dialer.master

    def granted(self, grant: PlaceGranted, ancestors: Iterable[Ancestor]) -> None:
        self.is_cut_off = False
        self._dialer.know(ancestors, self.where)
        self.membership.know(self._dialer.ways)
        self._do(self.membership.handle(grant))

    def go_home(self, reason: str = "going back to the parent of this place") -> None:
        """Leave this parent for the slave's own one."""
        self.membership.go_home()
        self.abandon(reason)

    def lost(self, link: Link, reason: str) -> None:
        """A connection to the parent has ended."""
        if not self.is_open(link):
            return
        control, bulk, self.control, self.bulk = self.control, self.bulk, None, None
        if control is not None and control is not link:
            # A parent that shuts down closes both connections, and its Shutdown may still arrive on the other.
            asyncio.get_running_loop().call_later(LAST_WORD_S, control.abort, reason)
        if bulk is not None and bulk is not link:
            bulk.abort(reason)
        self._do(self.membership.handle(ParentLost(reason)))
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def send(self, message: Message) -> None:
        """Send a message to the parent, if there is one."""
        if self.control is not None:
            self.control.send(message)

    def abandon(self, reason: str) -> None:
        """Leave this parent, and dial again."""
        if self.control is not None:
            self.control.abort(reason)

    def leave(self) -> None:
        """This process ends, so it dials no parent any more."""
        if self.membership.state is not SlaveState.LEAVING:
            self._do(self.membership.handle(Stopped()))

    def close(self) -> None:
        self.leave()
        if self.control is not None:
            self.control.close()

    async def heard_out(self) -> None:
        """After `close`: wait until the parent has read our last word.  It reads our two connections in any order, and
        the other one ends with this process: it would tell that we are lost."""
        if self.control is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD_S):
                    await asyncio.shield(self.control.gone)

    def _joined(self, control: Link, bulk: Link, welcome: Welcome) -> None:
        self.control, self.bulk, self.is_cut_off = control, bulk, False
        self._do(self.membership.handle(Welcomed(welcome.id)))
        asyncio.get_running_loop().call_later(PLACE_WITHIN_S, self._look_for_place, control)

    def _look_for_place(self, control: Link) -> None:
        """A master that does not know this node, because it is another one, takes it in at its own parent only."""
        if self.control is control and self.membership.state is SlaveState.JOINED and not self.membership.at_home:
            self.go_home(f"the master gave this node no place here for {PLACE_WITHIN_S:.0f} s")

    def _do(self, effects: Iterable[SlaveEffect]) -> None:
        for effect in effects:
            match effect:
                case Tell(text, warning):
                    log.log(logging.WARNING if warning else logging.INFO, "%s", text)
                case AnnounceSubtree():
                    self._owner.announce_subtree()
                case Suspend():
                    self._owner.suspend()
                case DialAfter(pause_s):
                    self._pause_s = pause_s
                case GiveUp(reason):
                    raise GprocError(reason)
                case _:
                    assert_never(effect)
