"""What a newcomer says before its second connection is open: it is kept, within bounds, until the newcomer is a
child."""

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
    """Raises PeerError for a message that has no place there: a newcomer has no job yet, and this node has asked it for
    nothing."""

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
                return  # the question went to all, also to this newcomer, and its answer is not waited for
            case _:
                raise PeerError(f"{type(message).__name__} before it has opened its bulk connection")
        self._bytes += len(frame(message))
        if len(self._said) >= NODES_BELOW_MAX or self._bytes > EARLY_BYTES_MAX:
            raise PeerError(f"it announced more than {NODES_BELOW_MAX} nodes")
        self._said.append(message)

    def take(self) -> list[ChildToParent]:
        """Take all of it, in order."""
        said, self._said, self._bytes = self._said, [], 0
        return said
