"""What a node does to find the host that it dials."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from gproc.errors import LinkLost
from gproc.link.dialing import _addresses, _connect
from tests.loop import run

DIALLED = """
import asyncio, sys, threading
from gproc.link.dialing import _addresses
print(asyncio.run(_addresses(sys.argv[1], 7))[0][3])
print(threading.active_count(), "encodings.idna" in sys.modules)
"""


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", ("127.0.0.1", 7)), ("::1", ("::1", 7, 0, 0))])
def test_an_address_needs_no_thread_and_no_tables_of_names(host: str, address: tuple[object, ...]) -> None:
    """They cost each slave 2 ms of its start and 0.7 MB."""
    done = subprocess.run([sys.executable, "-c", DIALLED, host], capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(address), "1 False"], done.stderr


def test_a_name_is_looked_up() -> None:
    found = run(_addresses("localhost", 7))
    assert {address[0] for _, _, _, address in found} <= {"127.0.0.1", "::1"}
    assert found and all(kind == socket.SOCK_STREAM for _, kind, _, _ in found)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "300.1.1.1", "", "[::1]"])
def test_a_host_that_is_not_found_is_named(host: str) -> None:
    with pytest.raises(LinkLost, match="cannot resolve" if host else "."):
        run(_addresses(host, 7))


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 10**30), ("127.0.0.1", -1), ("x" * 80 + ".invalid", 7), ("\udcff", 7), ("a..b", 7), ("a\0b", 7)],
)
def test_what_another_node_calls_its_address_and_is_none_is_a_node_that_is_not_reached(host: str, port: int) -> None:
    """A rack master with such an address ended slaves that were to dial it, with a traceback."""
    with pytest.raises(LinkLost):
        run(_addresses(host, port))


def test_a_dial_that_is_given_up_leaves_no_socket() -> None:
    """CancelledError is no OSError, so the socket stayed open until the garbage was collected."""

    async def given_up() -> tuple[list[str], list[str]]:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            port = server.getsockname()[1]
            full = []
            for _ in range(4):  # until the queue is full: the next one waits
                full.append(client := socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            before = os.listdir("/proc/self/fd")
            dialling = asyncio.create_task(_connect("127.0.0.1", port, lambda: None))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            dialling.cancel()
            try:
                await dialling
            except asyncio.CancelledError as error:
                held = error  # its traceback has the frame, and that the socket
                after = os.listdir("/proc/self/fd")
                assert held is error
            for client in full:
                client.close()
        return before, after

    before, after = run(given_up())
    assert after == before
