"""Which users may connect to the master's socket, and what the others are told."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gproc.client.inquiry import inquire
from gproc.errors import LinkLost
from gproc.link.connection import Traffic
from gproc.link.door import Door
from gproc.link.turns import Places
from gproc.service.clients import TOO_MANY, UNREAD_REFUSALS_BYTES, WELCOME, Client
from gproc.wire import frames, messages


class Unread:
    """A connection on which output waits."""

    channel = frames.CHANNEL_CLIENT

    def __init__(self) -> None:
        self.congested = True
        self.ending = False
        self.written: list[bytes] = []
        self.ended: list[str] = []

    def write(self, frame: bytes) -> None:
        self.written.append(frame)

    def send(self, message: messages.Message) -> None:
        self.written.append(messages.frame(message))

    def end(self, reason: str) -> None:
        self.ended.append(reason)


def test_a_client_whose_output_waits_may_be_refused_some_jobs_and_goes_on() -> None:
    """It lost its connection, and all its jobs with it, at the first one: output waits whenever a job writes much."""

    async def work() -> None:
        nobody: Any = None
        account: Any = SimpleNamespace(shift=None)
        client = Client(nobody, nobody, account, Traffic(), pytest.fail, pytest.fail)
        link: Any = Unread()
        client.link = link
        refusal = messages.Rejected(1, 125, "your jobs take more than they may")
        for _ in range(1000):
            client.refuse(refusal)
        link.congested = False
        client.refuse(refusal)
        link.congested = True
        for _ in range(1000):
            client.refuse(refusal)
        assert (len(link.written), link.ended) == (2001, [])
        while not link.ended:
            client.refuse(refusal)
        assert len(link.written) * len(link.written[0]) < 4 * UNREAD_REFUSALS_BYTES

    asyncio.run(work())


def test_a_client_of_a_user_with_too_many_connections_is_told_so(tmp_path: Path) -> None:
    """It was told that the master had ended, and an admin would have started another one."""
    path = str(tmp_path / "g")

    async def run() -> str:
        came, stays = asyncio.Event(), asyncio.Event()

        async def visit(connection: socket.socket, user: int) -> None:
            with connection:
                came.set()
                await stays.wait()

        door: Door[int] = Door(
            Places(1, 1), lambda _: 1000, visit, lambda user, reason: None, welcome=WELCOME, farewell=TOO_MANY
        )  # fmt: skip
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
            listener.bind(path)
            listener.listen()
            door.open(listener)
            other.connect(path)
            await came.wait()
            with pytest.raises(LinkLost) as refused:
                await asyncio.to_thread(inquire, path)
            door.close()
        return str(refused.value)

    assert "too many connections of its user are open and wait already" in asyncio.run(run())
