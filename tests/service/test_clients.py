"""Who may connect to the master's socket, and what those are told who may not."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from gproc.client.inquiry import inquire
from gproc.errors import LinkLost
from gproc.link.door import Door
from gproc.link.turns import Places
from gproc.service.clients import TOO_MANY, WELCOME


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
