"""The programs of docs/gfork.md: a master that counts, and the service that asks it, as a reader would copy them."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from gproc.gfork import Child, NotLinked, PeerSent
from tests.adapters.gfork.running import Gfork
from tests.loop import run
from tests.patience import PATIENCE_S

PAGE = Path(__file__).parents[3] / "docs" / "gfork.md"


def programs() -> dict[str, str]:
    """The page's programs, by the name in their first line."""
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(blocks)


def test_the_counter_of_the_guide_counts_across_connections(tmp_path: Path) -> None:
    for name, text in programs().items():
        (tmp_path / name).write_text(text)
    master = f" master = {sys.executable}\n master_args = {tmp_path / 'counter.py'}"
    with Gfork(tmp_path, master, server=f"server = {sys.executable}\n server_args = {tmp_path / 'visit.py'}") as gfork:
        said = []
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", gfork.port), timeout=PATIENCE_S) as client:
                said.append(client.makefile("rb").read())
        assert said == [b"you are visitor 1\n", b"you are visitor 2\n", b"you are visitor 3\n"]


def test_a_program_that_gfork_did_not_start_is_told_so() -> None:
    async def child() -> None:
        with pytest.raises(NotLinked, match="is this program started by gfork"):
            Child({})
        with pytest.raises(NotLinked):
            Child({"GFORK_CHILD_READ_ENV": "9999", "GFORK_CHILD_WRITE_ENV": "9999"})

    run(child())


def test_a_message_has_a_size(tmp_path: Path) -> None:
    async def child() -> None:
        read, write = os.pipe()
        environ = {"GFORK_CHILD_READ_ENV": str(read), "GFORK_CHILD_WRITE_ENV": str(write)}
        async with Child(environ) as link:
            for data in (b"", bytes((1 << 20) + 1)):
                with pytest.raises(ValueError, match="a message has 1 to"):
                    await link.send(data)
            await link.send(b"x", to=5)  # to its own reading end: the pipe is a loop
            assert await anext(aiter(link)) == PeerSent(0, b"x")

    run(child())
