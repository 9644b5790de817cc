"""Many slaves in one process: `python -m bench.crowd`, which `bench.scale` starts.

All of a slave is real above the launcher: TLS, certificates, grants, leases, tickets, pipes, relays, new parents.
The launcher runs nothing: a program writes the words behind its name, as echo(1) does, and returns 0.  The slaves of a
process share its store, and what is known of the machine's files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

from gproc.addresses import own_addresses
from gproc.descriptors import allow_all
from gproc.launch.launcher import Launcher, Process
from gproc.launch.protocol import JobEnd, ProgramEnded, Start
from gproc.link import heartbeats
from gproc.locales import load
from gproc.node.succeeding import following_of
from gproc.policy.warden import Warden
from gproc.relay.belonging import Belonging, placed_by
from gproc.relay.parent import Dialer
from gproc.root.abilities import Abilities
from gproc.root.planner import Planner
from gproc.slave import Slave
from gproc.store.opening import open_store
from gproc.store.store import Store
from gproc.trust import tls
from gproc.trust.endpoint import Endpoint
from gproc.trust.home import gproc_home
from gproc.trust.identity import Identity, load_identity

LOOPBACK: Final = "127.0.0.1"
LOCALE: Final = "local"
JOIN_AT_ONCE: Final = 4
"""Slaves that join at the same time, of one process.  Handshakes of 5,000 at once would all be too slow on two
processors; on a cluster each node has processors of its own."""

SILENCE_S: Final = 60.0
"""A slave here is silent while hundreds of others in its process, and thousands on its processors, have their turn."""


class EchoLauncher(Launcher):
    """Its programs end at once."""

    abilities = Abilities(view=True, overlay=True, root=os.geteuid() == 0, reason="")

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def spawn(self, start: Start, stdin: int, stdout: int, stderr: int, on_exit: Callable[[JobEnd], None]) -> Process:
        os.write(stdout, b" ".join(start.request.argv[1:]) + b"\n")
        for handle in (stdin, stdout, stderr):
            os.close(handle)
        self._loop.call_soon(on_exit, ProgramEnded(start.process, 0, 0, False))
        return Process(self, start.process)

    def send_signal(self, number: int, signum: int) -> None:
        """Nothing runs."""

    async def first_process(self, number: int) -> int:
        return 0

    def close(self) -> None:
        """Nothing runs."""


class Crowd:
    """The slaves of this process."""

    def __init__(self, identity: Identity, store: Store, link_timeout_s: float) -> None:
        self._identity = identity
        self._store = store
        self._link_timeout_s = link_timeout_s
        self._tasks: list[asyncio.Task[None]] = []
        self._planner = Planner(EchoLauncher.abilities, b"/nowhere")
        self._joining = asyncio.Semaphore(JOIN_AT_ONCE)

    async def start(self, id: int, parent_port: int, port: int, *, is_below_master: bool) -> int:
        """Start one.  Returns the port on which it takes children.  port: 0 for any."""
        endpoint = Endpoint(self._identity, following_of(self._identity))
        expected = tls.ExpectedParent(LOOPBACK, None, is_below_master)
        launcher = EchoLauncher()
        await self._joining.acquire()
        joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        joined.add_done_callback(lambda _: self._joining.release())
        slave = Slave(
            endpoint=endpoint,
            dialer=Dialer(endpoint, expected, parent_port, self._link_timeout_s),
            store=self._store,
            launcher=launcher,
            planner=self._planner,
            belonging=Belonging(self._identity.name, False, placed_by(load(LOCALE), parent_port)),
            id=id,
            address=LOOPBACK,
            link_timeout_s=self._link_timeout_s,
            warden=Warden("slave"),
            joined=lambda _: None if joined.done() else joined.set_result(None),
        )
        slave.children.listen(LOOPBACK, port)
        self._tasks.append(asyncio.create_task(slave.run()))
        return slave.children.port

    async def ended(self) -> None:
        await asyncio.gather(*self._tasks)


def numbers(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


async def live(crowd: Crowd, parent_port: int, port: int, ids: range, children: int) -> None:
    """ids: of the slaves below the one at `parent_port`; each has so many children, if `children` is not 0."""
    for id in ids:
        own = await crowd.start(id, parent_port, port, is_below_master=not children)
        for child in range(1, children + 1):
            await crowd.start(child, own, 0, is_below_master=False)
        print(own, flush=True)
    await crowd.ended()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    parser.add_argument("--parent-port", type=int, required=True)
    parser.add_argument("--port", type=int, default=0, help="on which the first of them takes children; 0: any")
    parser.add_argument("--ids", type=numbers, required=True, metavar="FIRST-LAST")
    parser.add_argument("--children", type=int, default=0, help="of each, in this process too")
    parser.add_argument("--link-timeout", type=float, required=True)
    parser.add_argument("--store", required=True)
    options = parser.parse_args(arguments)
    allow_all()
    heartbeats.SILENCE_S = SILENCE_S  # type: ignore[misc]
    identity = load_identity(gproc_home(os.environ), "node", socket.gethostname(), own_addresses("localhost", LOOPBACK))
    store = open_store(options.store)

    async def run() -> None:
        crowd = Crowd(identity, store, options.link_timeout)
        await live(crowd, options.parent_port, options.port, options.ids, options.children)

    asyncio.run(run())


if __name__ == "__main__":
    main(sys.argv[1:])
