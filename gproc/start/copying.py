"""What `scripts/copytonodes.sh` copies, as files: a node gets the same bytes as by `gproc start`, at the same place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gproc.start.giving import Parcel
from gproc.start.script import header, order_to_take, start_command
from gproc.start.supply import Supply

_NAME: Final = "copy"
_TRIED: Final = ("--version",)
"""The bootstrap unpacks a runtime to start something of it: here this, which ends at once."""


def files_to_copy(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
    """Names and contents.

    machine, place: for which machine the runtime is, and the name of its directory on a node.  command: for a node's
    login shell.  ask: to be read by the command; its answers say what the node needs.  helper, send: what it needs.
    """
    head = header(parcel.digest, len(parcel.archive), _NAME, _TRIED, 0, Supply.token())
    yield "machine", parcel.machine.encode()
    yield "place", f"runtime-{parcel.digest}".encode()
    yield "command", start_command(len(parcel.helper), parcel.helper_digest).encode()
    yield "ask", head
    yield "helper", parcel.helper
    yield "send", head + order_to_take(0) + parcel.archive
