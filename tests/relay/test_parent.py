"""How a slave joins its parent, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gproc.link.connection import Link, Receiver
from gproc.link.transport import secure
from gproc.node import uplink
from gproc.relay import membership
from gproc.relay.parent import Dialer, new_token
from gproc.trust.authority import open_authority, provision
from gproc.trust.endpoint import Endpoint
from gproc.trust.home import gproc_home
from gproc.trust.identity import load_identity
from gproc.trust.ticket import Ancestor
from gproc.trust.tls import ExpectedParent
from gproc.wire.messages import Join, NodeInfo, Welcome
from tests.link.test_connection import Recorder
from tests.loop import run


def endpoints(place: Path) -> tuple[Endpoint, Endpoint]:
    """The endpoints of a master and of a node of its cluster."""
    authority = open_authority(gproc_home({"GPROC_HOME": str(place / "home")}), create=True)
    provision(authority, "kn7", (), str(place / "kn7"))
    master = Endpoint(load_identity(authority.home, "master", "fe"))
    slave = Endpoint(load_identity(str(place / "kn7"), "node", "kn7"))
    return master, slave


def a_join() -> Join:
    return Join(new_token(), None, False, NodeInfo("kn7", "", b"n" * 16, "", 1.0))


def test_a_welcome_that_comes_as_the_attempt_is_given_up_is_no_bug(tmp_path: Path) -> None:
    """The future of the answer was cancelled by then: "InvalidStateError" in the slave's log."""
    master, slave = endpoints(tmp_path)

    async def work() -> None:
        bugs: list[dict[str, object]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: bugs.append(context))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            dialer = Dialer(slave, ExpectedParent("127.0.0.1", None, is_master=True), port, 5.0)
            join = a_join()
            afterwards = Recorder()
            receiver: Receiver[Any] = afterwards
            joining = asyncio.ensure_future(
                dialer.join(dialer.ways[0], join, receiver, lambda *_: pytest.fail("it has joined"), 5.0)
            )
            accepted, _ = await loop.sock_accept(listener)
            records = Recorder()
            parent = Link(None, records)
            await secure(accepted, master.server, parent, server_side=True)
            await records.until_received(1)
            parent.send(Welcome(1, "127.0.0.1"))  # links write in the loop's next round
            loop.call_soon(lambda: loop.call_soon(joining.cancel))  # the socket is readable in the cancel's round
            await asyncio.wait([joining])
            await records.until_lost()
            assert joining.cancelled()
            assert not bugs
            assert not afterwards.received

    run(work())


def test_what_was_reached_serves_the_next_join_of_that_way_and_is_closed_by_any_other(tmp_path: Path) -> None:
    """If the node dialled another way, it left an unused connection at the master, until the master ended it."""
    master, slave = endpoints(tmp_path)
    join = a_join()

    async def accepted(listener: socket.socket) -> Recorder:
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        records = Recorder()
        await secure(connection, master.server, Link(None, records), server_side=True)
        return records

    async def reached(dialer: Dialer, listener: socket.socket) -> Recorder:
        receiver: Receiver[Any] = Recorder()
        reaching = asyncio.ensure_future(dialer.reach(dialer.master, receiver))
        records = await accepted(listener)
        await reaching
        assert dialer.answered
        return records

    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as parent, socket.create_server(("127.0.0.1", 0)) as above:
            for listener in (parent, above):
                listener.setblocking(False)
            home, front = (f"127.0.0.1:{each.getsockname()[1]}" for each in (parent, above))
            dialer = Dialer(slave, ExpectedParent("127.0.0.1", None, is_master=True), parent.getsockname()[1], 5.0)
            dialer.know([Ancestor("", front)], home)
            assert (dialer.ways, dialer.master) == ((home, front), front)
            for where, is_used in ((front, True), (home, False)):
                records = await reached(dialer, above)
                receiver: Receiver[Any] = Recorder()
                joining = asyncio.ensure_future(dialer.join(where, join, receiver, lambda *_: None, 5.0))
                if is_used:
                    await records.until_received(1)
                else:
                    await accepted(parent)
                    await records.until_lost()
                    assert not records.received
                joining.cancel()
                await asyncio.wait([joining])
            records = await reached(dialer, above)
            dialer.give_up()
            await records.until_lost()

    run(work())


def test_a_node_above_that_answers_is_joined_if_the_one_that_is_dialled_takes_connections_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel takes connections for a frozen process: the node waited for its patience, 2 s and more."""
    monkeypatch.setattr(membership, "ONE_OF_MANY_S", 1000.0)
    monkeypatch.setattr(membership, "ONE_OF_MANY_MAX_S", 1000.0)
    monkeypatch.setattr(membership, "BESIDE_PART", 0.0001)
    master, slave = endpoints(tmp_path)

    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as frozen, socket.create_server(("127.0.0.1", 0)) as above:
            above.setblocking(False)
            home, front = (f"127.0.0.1:{each.getsockname()[1]}" for each in (frozen, above))
            dialer = Dialer(slave, ExpectedParent("127.0.0.1", None, is_master=True), frozen.getsockname()[1], 5.0)
            dialer.know([Ancestor("", front)], home)
            receiver: Receiver[Any] = Recorder()
            owner: Any = SimpleNamespace(join_request=a_join, look_for_way=lambda: None)
            joining = asyncio.ensure_future(uplink.Uplink(dialer, 1, owner, receiver).stay_joined())
            connection, _ = await asyncio.get_running_loop().sock_accept(above)
            records = Recorder()
            await secure(connection, master.server, Link(None, records), server_side=True)
            await records.until_received(1)
            assert isinstance(records.received[0], Join)
            joining.cancel()
            await asyncio.wait([joining])

    run(work())
