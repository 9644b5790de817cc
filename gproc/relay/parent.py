"""How a slave opens its two connections to its parent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gproc.errors import GprocError, LinkLost
from gproc.link.connection import Link, Receiver
from gproc.link.dialing import open_link
from gproc.link.transport import HANDSHAKE_S
from gproc.trust.identity import Identity
from gproc.trust.tls import ExpectedParent, is_loopback
from gproc.wire import frames
from gproc.wire.directions import JOIN_ANSWER, JoinAnswer, ParentToChild
from gproc.wire.messages import Attach, Join, RefuseJoin, Welcome

if TYPE_CHECKING:
    import ssl


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
        self.answer.set_result(message)
        link.receiver = self._then

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(LinkLost(reason))
            self.answer.exception()


class Dialer:
    """Connects this slave to its parent.  The parent is always the same, and its name is checked every time."""

    def __init__(
        self, identity: Identity, context: ssl.SSLContext, parent: ExpectedParent, port: int, link_timeout_s: float
    ) -> None:
        self.where = f"{parent.host}:{port}"
        self._identity = identity
        self._context = context
        self._parent = parent
        self._port = port
        self._link_timeout_s = link_timeout_s

    async def join(
        self, join: Join, receiver: Receiver[ParentToChild], joined: Callable[[Link, Link, Welcome], None]
    ) -> None:
        """Make both connections; `receiver` gets everything that the parent sends on them.

        joined: called with the control link, the bulk link and the parent's welcome, before the parent sends more.
        Raises: LinkLost or OSError if the parent cannot be reached, TrustError if it is the wrong node,
        NotAdmitted if it refuses.
        """
        waiting = _Waiting(receiver)
        try:
            control = await self._open(frames.CHANNEL_CONTROL, waiting)
        except LinkLost as error:
            if isinstance(error.__cause__, ConnectionRefusedError) and not is_loopback(self._parent.host):
                raise LinkLost(f"{error}: {NOBODY_LISTENS}") from error
            raise
        try:
            control.send(join)
            async with asyncio.timeout(HANDSHAKE_S):
                answer = await waiting.answer
            if isinstance(answer, RefuseJoin):
                raise NotAdmitted(f"{self.where} refused us: {answer.reason}", final=answer.final)
            bulk = await self._open(frames.CHANNEL_BULK, receiver)
            bulk.allow_slow_reader()
            joined(control, bulk, answer)
            bulk.send(Attach(join.token))
        except BaseException as error:
            control.abort("joining failed")
            if isinstance(error, TimeoutError):
                raise LinkLost(f"{self.where} did not answer for {HANDSHAKE_S:.0f} s") from None
            raise

    async def _open(self, channel: int, receiver: Receiver[Any]) -> Link:
        return await open_link(
            self._parent, self._port, channel, receiver, self._identity, self._context, self._link_timeout_s
        )


def new_token() -> bytes:
    """16 random bytes, kept secret: a connection that shows them becomes this node's bulk connection."""
    return os.urandom(16)
