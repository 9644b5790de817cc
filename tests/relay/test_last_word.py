"""Messages of a lost parent that arrive after the loss."""

from __future__ import annotations

import asyncio

from gproc.link.connection import Link, Receiver
from gproc.node.uplink import Uplink
from gproc.relay.membership import Membership
from gproc.slave import Slave
from gproc.wire.directions import ParentToChild
from gproc.wire.frames import CHANNEL_CONTROL
from gproc.wire.messages import Branch, Run, Shutdown, Signed


def test_a_lost_parent_can_end_the_slave_but_begin_no_job() -> None:
    async def work() -> None:
        uplink = object.__new__(Uplink)
        uplink.control = uplink.bulk = None
        uplink.membership = Membership(1, "kn20:6666")
        slave = object.__new__(Slave)
        slave._uplink = uplink
        slave.relayed_jobs = {}
        slave.stopped = asyncio.get_running_loop().create_future()
        former: Link = Link(CHANNEL_CONTROL, Receiver[ParentToChild]())
        slave.on_message(former, Run(1, 1, Signed(b"", b""), Branch(0, {}), 1 << 20))
        assert slave.relayed_jobs == {}
        assert not slave.stopped.done()
        slave.on_message(former, Shutdown("the master has ended"))
        assert slave.stopped.done()

    asyncio.run(work())
