"""Where connections come in: what a lack of descriptors, and sockets of systemd's, leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from gproc.adapters.gfork.journal import Journal
from gproc.adapters.gfork.servers import Servers, ServicePlan
from gproc.adapters.gfork.settings import ServiceSettings
from gproc.adapters.gfork.spawning import RunAs, Spawner
from gproc.adapters.gfork.switchboard import Switchboard
from tests.patience import until


class Scarce(socket.socket):
    """A listener whose process has no descriptors left as long as it `lacks`."""

    lacks = True
    was_asked = False

    def accept(self) -> tuple[socket.socket, Any]:
        self.was_asked = True
        if self.lacks:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def servers(place: Path) -> Servers:
    journal = Journal(str(place / "journal"), 2, quiet=False)
    return Servers(
        ServicePlan(ServiceSettings("test", "/bin/true"), RunAs(), {}), Spawner(), Switchboard(journal.error), journal
    )


def listening(family: socket.AddressFamily, address: Any) -> Scarce:
    listener = Scarce(family)
    listener.setblocking(False)
    listener.bind(address)
    listener.listen()
    return listener


def test_after_a_lack_of_descriptors_and_a_reload_clients_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload within the second after the lack left the service deaf at the next one, until it was started again."""
    monkeypatch.setattr("gproc.adapters.gfork.servers.RETRY_S", 0.02)

    async def run() -> None:
        ours = servers(tmp_path)
        with contextlib.ExitStack() as clients:

            async def lack() -> Scarce:
                listener = listening(socket.AF_INET, ("127.0.0.1", 0))
                ours.listen_to([listener])
                clients.enter_context(socket.create_connection(listener.getsockname()))
                await asyncio.to_thread(until, lambda: listener.was_asked, "the client is there")
                return listener

            await lack()
            ours.stop_listening()
            (await lack()).lacks = False
            await asyncio.to_thread(until, lambda: len(ours) > 0, "the client is served")
        ours.stop_listening()

    asyncio.run(run())


@pytest.mark.parametrize("address", ["path", "\0abstract-of-gproc-test"])
def test_clients_of_a_socket_without_a_network_are_served(tmp_path: Path, address: str) -> None:
    """Of a Unix socket that systemd passed, each client was dropped without a word."""

    async def run() -> None:
        ours = servers(tmp_path)
        named = address if address[0] == "\0" else str(tmp_path / address)
        listener = listening(socket.AF_UNIX, named)
        listener.lacks = False
        ours.listen_to([listener])
        with socket.socket(socket.AF_UNIX) as client:
            client.bind(f"{named}-client")
            client.connect(named)
            await asyncio.to_thread(until, lambda: len(ours) > 0, "the client is served")
        ours.stop_listening()

    asyncio.run(run())
