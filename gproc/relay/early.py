"""What a child says before its second connection is open, and it is a child: it is kept until then, within bounds."""

from __future__ import annotations

from typing import Final

from gproc.errors import PeerError
from gproc.nodespec import LEVELS_MAX
from gproc.relay.belonging import NODES_BELOW_MAX
from gproc.wire.credentials import AskCertificate
from gproc.wire.directions import ChildToParent
from gproc.wire.loads import Load
from gproc.wire.messages import Arrived, AskLease, Goodbye, Left, Ping, frame

EARLY_BYTES_MAX: Final = 32 << 20
"""On the wire: as many nodes as a child may announce, with 2 kB for each.  One with its certificate has some 700."""


class EarlyWords:
    """Raises PeerError for what has no place there: a child has no job yet, and nobody has asked it for anything."""

    def __init__(self) -> None:
        self._said: list[ChildToParent] = []
        self._bytes = 0

    def add(self, message: ChildToParent) -> None:
        match message:
            case Arrived(route) | Left(route) | AskLease(route) | AskCertificate(route) if len(route) <= LEVELS_MAX:
                pass
            case Ping() | Goodbye():
                pass
            case Load():
                return  # all were asked, this one too, and nobody waits for the answer of a node that is not there yet
            case _:
                raise PeerError(f"{type(message).__name__} before it has opened its bulk connection")
        self._bytes += len(frame(message))
        if len(self._said) >= NODES_BELOW_MAX or self._bytes > EARLY_BYTES_MAX:
            raise PeerError(f"it announced more than {NODES_BELOW_MAX} nodes")
        self._said.append(message)

    def take(self) -> list[ChildToParent]:
        """All of it, in order.  It is here no more."""
        said, self._said, self._bytes = self._said, [], 0
        return said
