"""How a slave opens its two connections to its parent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from gproc.errors import GprocError, LinkLost
from gproc.link.connection import Link, Receiver
from gproc.link.dialing import open_link
from gproc.link.transport import HANDSHAKE_S
from gproc.trust.endpoint import Endpoint
from gproc.trust.ticket import Ancestor
from gproc.trust.tls import ExpectedParent, is_loopback
from gproc.wire import frames
from gproc.wire.directions import JOIN_ANSWER, JoinAnswer, ParentToChild
from gproc.wire.messages import Attach, Join, RefuseJoin, Welcome

NOBODY_LISTENS: Final = (
    "is gproc running there, on that port? Without -locale or -myAddress, gproc m serves its own machine alone"
)


class NotAdmitted(GprocError):
    """The parent refused our Join.  final: the answer would be the same if we asked again."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class _Waiting(Receiver[JoinAnswer]):
    """Receives the parent's answer to Join, and makes `then` the link's receiver before the next message is read."""

    direction = JOIN_ANSWER

    def __init__(self, then: Receiver[ParentToChild]) -> None:
        self._then = then
        self.answer: asyncio.Future[Welcome | RefuseJoin] = asyncio.get_running_loop().create_future()

    def on_message(self, link: Link, message: JoinAnswer) -> None:
        if self.answer.done():
            return  # the attempt was given up, so the answer is not needed, and the link ends
        self.answer.set_result(message)
        link.receiver = self._then

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(LinkLost(reason))
            self.answer.exception()


class Dialer:
    """Connects this slave to its parent, or to a node above if the parent is gone.  The name is checked every time.

    ways: the nodes that may be its parent, as "host:port": its own parent first.
    master: the way that is the master; before the first grant it may be any parent.
    answered: whether the machine that was dialled last has answered.
    is_heard: whether the node itself has, in the handshake.
    """

    def __init__(self, endpoint: Endpoint, parent: ExpectedParent, port: int, link_timeout_s: float) -> None:
        self._home = f"{parent.host}:{port}"
        self._nodes = {self._home: (parent, port)}
        self.master = self._home
        self.answered = self.is_heard = False
        self._reached: tuple[str, Link, _Waiting] | None = None
        self._endpoint = endpoint
        self._link_timeout_s = link_timeout_s

    @property
    def ways(self) -> tuple[str, ...]:
        return tuple(self._nodes)

    def know(self, ancestors: Iterable[Ancestor], now: str) -> None:
        """Set the nodes that may be the parent, as the master has named them, the best first.  now: the address of
        the present parent."""
        nodes, self.master = {self._home: self._nodes[self._home]}, self._home
        for ancestor in ancestors:
            host, _, port = ancestor.address.rpartition(":")
            if host and port.isdecimal():
                expected = ExpectedParent(host, ancestor.name or None, is_master=not ancestor.name)
                nodes.setdefault(ancestor.address, (expected, int(port)))
                self.master = ancestor.address
        nodes.setdefault(now, self._nodes[now])
        self._nodes = nodes

    def show_other(self) -> None:
        """We were not let in: if the cluster's keys are being exchanged, show the other certificate next time."""
        self._endpoint.show_other()

    async def reach(self, where: str, receiver: Receiver[ParentToChild]) -> None:
        """Open the first connection to one of `ways`, for the next `join`; it says nothing yet.

        Raises: as `join`.
        """
        self.answered = False
        self._endpoint.refresh()
        await self._reach(where, receiver, self._note_answer)

    async def reach_beside(self, where: str, receiver: Receiver[ParentToChild]) -> None:
        """`reach`, while another of `ways` is dialled, which is the one that `answered` is about."""
        await self._reach(where, receiver, lambda: None)

    async def _reach(self, where: str, receiver: Receiver[ParentToChild], answered: Callable[[], None]) -> None:
        waiting = _Waiting(receiver)
        link = await self._open(where, frames.CHANNEL_CONTROL, waiting, answered)
        self.give_up()
        self._reached = where, link, waiting

    def give_up(self) -> None:
        """Close what `reach` has opened."""
        if self._reached is not None:
            self._reached[1].abort("it is not needed any more")
            self._reached = None

    async def join(
        self, where: str, join: Join, receiver: Receiver[ParentToChild], joined: Callable[[Link, Link, Welcome], None],
        patience_s: float,
    ) -> None:  # fmt: skip
        """Make both connections to one of `ways`; `receiver` gets everything that the parent sends on them.

        patience_s: how long that may take if there are others to try.
        joined: called with the control link, the bulk link and the parent's welcome, before the parent sends more.
        Raises: LinkLost or OSError if the parent cannot be reached, TrustError if it is the wrong node,
        NotAdmitted if it refuses.
        """
        if len(self._nodes) == 1:
            await self._join(where, join, receiver, joined)
            return
        try:
            async with asyncio.timeout(patience_s):
                await self._join(where, join, receiver, joined)
        except TimeoutError:
            raise LinkLost(f"{where} did not answer for {patience_s:.0f} s") from None

    async def _join(
        self, where: str, join: Join, receiver: Receiver[ParentToChild], joined: Callable[[Link, Link, Welcome], None]
    ) -> None:
        self.answered = self.is_heard = False
        self._endpoint.refresh()  # a person may have put another certificate there
        reached, self._reached = self._reached, None
        try:
            if reached is not None and reached[0] == where and not reached[1].lost:
                _, control, waiting = reached
                self.answered = True
            else:
                if reached is not None:
                    reached[1].abort("another parent is dialled")
                waiting = _Waiting(receiver)
                control = await self._open(where, frames.CHANNEL_CONTROL, waiting, self._note_answer)
        except LinkLost as error:
            if isinstance(error.__cause__, ConnectionRefusedError) and not is_loopback(self._nodes[where][0].host):
                raise LinkLost(f"{error}: {NOBODY_LISTENS}") from error
            raise
        self.is_heard = True
        try:
            control.send(join)
            async with asyncio.timeout(HANDSHAKE_S):
                answer = await waiting.answer
            if isinstance(answer, RefuseJoin):
                raise NotAdmitted(f"{where} refused us: {answer.reason}", final=answer.final)
            bulk = await self._open(where, frames.CHANNEL_BULK, receiver, self._note_answer)
            bulk.allow_slow_reader()
            bulk.send(Attach(join.token))
            joined(control, bulk, answer)
        except BaseException as error:
            control.abort("joining failed")
            if isinstance(error, TimeoutError):
                raise LinkLost(f"{where} did not answer for {HANDSHAKE_S:.0f} s") from None
            raise

    async def _open(self, where: str, channel: int, receiver: Receiver[Any], answered: Callable[[], None]) -> Link:
        parent, port = self._nodes[where]
        return await open_link(parent, port, channel, receiver, self._endpoint, self._link_timeout_s, answered)

    def _note_answer(self) -> None:
        self.answered = True


def new_token() -> bytes:
    """16 random bytes, kept secret: a connection that shows them becomes this node's bulk connection."""
    return os.urandom(16)
