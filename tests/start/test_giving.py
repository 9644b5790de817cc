"""What the front end says about where a node got its runtime."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gproc import native
from gproc.start.giving import Giving, Parcel
from gproc.start.plan import planned
from gproc.start.ssh import Ways, open_channel
from gproc.start.supply import Giver, Supply
from tests.native.bootstrap import TOKEN
from tests.native.conftest import place
from tests.native.handing_on import ARCHIVE, source
from tests.patience import PATIENCE_S

__all__ = ["place"]

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")

DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
HERE = Ways(command="""sh -c 'exec sh -c "$1"'""")
"""The command runs on this machine, with a channel as of a host."""


@contextmanager
def refusing_port() -> Iterator[int]:
    """It is bound, so that nobody else listens there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


async def note_of(place: Path, offers: list[tuple[str, int]]) -> tuple[str, str]:
    """The note about a node that can be given the runtime at those ports, and the source that is named for it."""
    standings = planned([*(name for name, _ in offers), "late"], 8)
    supply = Supply(standings)
    for name, port in offers:
        supply.has_it(name, Giver(name, "127.0.0.1", port, TOKEN, DIGEST))
    channel, _ = await open_channel("late", f"exec {os.fsdecode(native.HELPER)} bootstrap {place}", HERE)
    parcel = Parcel("x86_64", b"", "", DIGEST, ARCHIVE)
    giving = Giving(channel, standings[-1], parcel, supply, PATIENCE_S, lambda: None)
    try:
        await giving.give("slave-test")
    finally:
        await channel.close(at_once=True)
        await supply.close()
    return giving.note, giving.source


def test_it_was_sent_from_here_was_told_of_what_another_node_gave(place: Path) -> None:
    with source(os.fsdecode(native.HELPER), place) as port, refusing_port() as gone:
        note, gave = asyncio.run(note_of(place, [("gone", gone), ("good", port)]))
    assert gave == "good"
    assert note == "gone did not hand the runtime on: Connection refused; good gave it"


def test_it_was_sent_from_here_is_told_if_that_is_so(place: Path) -> None:
    with refusing_port() as gone, refusing_port() as ill:
        note, gave = asyncio.run(note_of(place, [("gone", gone), ("ill", ill)]))
    assert gave == ""
    assert note == "ill did not hand the runtime on: Connection refused; it was sent from here"
