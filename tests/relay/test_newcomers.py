"""Connections that have not been let in yet."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from gproc.errors import LinkLost
from gproc.link.connection import Link
from gproc.link.shift import Shift
from gproc.relay.children import Children, _Newcomer
from gproc.trust.tls import PeerName
from gproc.wire import frames
from gproc.wire.messages import PeerHello, Signed
from tests.loop import run


def test_a_peer_that_left_while_its_ticket_was_awaited_left_a_task_behind() -> None:
    """It is awaited for up to 3 s.  The task that would serve the peer never heard that the peer was gone."""

    class Owner:
        def __init__(self) -> None:
            self.asked, self.ticket = asyncio.Event(), asyncio.Event()

        async def may_serve(self, ticket: Signed) -> bytes:
            self.asked.set()
            await self.ticket.wait()
            return bytes(32)

    async def left() -> set[asyncio.Task[Any]]:
        owner = Owner()
        children = Children(cast(Any, owner), cast(Any, None), 1.0)
        ours, theirs = socket.socketpair()
        link = Link(None, _Newcomer(), shift=Shift())
        await asyncio.get_running_loop().create_connection(lambda: cast(Any, link), sock=ours)
        theirs.sendall(frames.preface(frames.CHANNEL_PEER))
        await link.opened()
        hello, peer = PeerHello(Signed(b"", b"")), cast(PeerName, None)
        letting_in = asyncio.create_task(children._let_in(link, hello, peer, "127.0.0.1"))
        await owner.asked.wait()
        theirs.close()
        await link.gone
        owner.ticket.set()
        with pytest.raises(LinkLost, match="it has gone"):
            await letting_in
        return asyncio.all_tasks() - {cast(Any, asyncio.current_task())}

    assert run(left()) == set()
