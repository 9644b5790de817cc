"""The turn of some nodes of a job that runs on a few nodes at a time: the master has signed that they may begin now.

All nodes of a job have one ticket, and a relay has it as soon as one node below it has begun.  So a ticket of such a
job lets no node begin: each needs a turn too, which names it and says until when it may begin.  The slave of a node may
have been started again while the node waits.  So the number of the turn, and not that of the ticket, has to be above
that of the slave's first grant.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.errors import SpecError
from gproc.nodespec import NodeSpec, Path, format_path
from gproc.trust.lease import ClockMs
from gproc.trust.signing import Context, Keys, Sequence, Session, TicketRefused, Unreadable, opened
from gproc.wire.messages import Signed


class Turn(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """number: of this turn in the session: a slave that was started after it does not obey it.
    nodes: the nodes whose turn it is, folded.  start_by_ms: as of a ticket."""

    session: Session
    number: Sequence
    job: Sequence
    nodes: str
    start_by_ms: ClockMs


class NotItsTurn(TicketRefused):
    """A job that this node must not begin yet."""

    def __init__(self, job: int, path: Path) -> None:
        super().__init__(job, path)
        self.job = job
        self.path = path

    def __str__(self) -> str:
        return f"job {self.job} runs on some nodes at a time, and it is not the turn of {format_path(self.path)}"


def read_turn(signed: Signed | None, keys: Keys, session: bytes, job: int, place: Path) -> Turn:
    """The turn of one node.  Raises: TicketRefused if this is none."""
    if signed is None:
        raise NotItsTurn(job, place)
    turn = opened(Context.TURN, signed, keys, _decoder)
    try:
        meant = (turn.session, turn.job) == (session, job) and NodeSpec.parse(turn.nodes).selects(place)
    except SpecError as error:
        raise Unreadable("turn", f"its nodes: {error.reason}") from error
    if not meant:
        raise NotItsTurn(job, place)
    return turn


_decoder: Final = msgspec.msgpack.Decoder(Turn)
