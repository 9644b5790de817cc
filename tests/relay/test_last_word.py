"""Messages of a lost parent that arrive after the loss."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from gproc.link.connection import Link, Receiver
from gproc.node.taking import JobTaker
from gproc.node.uplink import Uplink
from gproc.node.voice import Voice
from gproc.nodespec import Place
from gproc.relay.membership import Membership
from gproc.slave import Slave
from gproc.trust.orders import TreeEnds
from gproc.trust.signing import Context, Signer
from gproc.trust.ticket import Grant, TicketVerifier
from gproc.wire.branch import Branch
from gproc.wire.directions import ParentToChild
from gproc.wire.frames import CHANNEL_CONTROL
from gproc.wire.messages import Run, Shutdown, Signed

SESSION, NONCE = b"s" * 16, b"n" * 16


def test_a_lost_parent_can_end_the_slave_but_begin_no_job() -> None:
    master = Signer(bytes(32))

    async def work() -> None:
        uplink = object.__new__(Uplink)
        uplink.control = uplink.bulk = None
        uplink.membership = Membership(1, ("kn20:6666",))
        uplink._dialer = SimpleNamespace(ways=("kn20:6666",))  # type: ignore[assignment]
        slave = object.__new__(Slave)
        slave._uplink = uplink
        slave.relayed_jobs = {}
        slave._verifier = TicketVerifier(master.public_key, NONCE, 0)
        slave._verifier.accept_grant(master.sign(Context.GRANT, Grant(SESSION, NONCE, Place((1,)), 1, 0)))
        slave._taker = JobTaker(slave._verifier, Voice(), None, None, uplink)  # type: ignore[arg-type]
        slave.stopped = asyncio.get_running_loop().create_future()
        former: Link = Link(CHANNEL_CONTROL, Receiver[ParentToChild]())
        slave.on_message(former, Run(1, 1, Signed(b"", b""), Branch(0, {}), 1 << 20))
        assert slave.relayed_jobs == {}
        assert not slave.stopped.done()
        slave.on_message(former, Shutdown("the node above has ended"))
        assert not slave.stopped.done()
        slave.on_message(former, Shutdown("the master has ended", master.sign(Context.END, TreeEnds(b"t" * 16))))
        assert not slave.stopped.done()
        slave.on_message(former, Shutdown("the master has ended", master.sign(Context.END, TreeEnds(SESSION))))
        assert slave.stopped.done()

    asyncio.run(work())
