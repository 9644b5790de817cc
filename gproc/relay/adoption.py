"""A node whose parent is gone becomes the child of a node above it: which node may, and by which number.  Pure.

The child shows its grant, which the master signed for this run of it.  Its place stays what the grant says, so people
call it by the same name; only its route changes.  A node takes in only nodes whose places are below its own.  So no
route can lead in a circle, and no node can draw others to itself that were not below it before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from gproc.errors import TrustError
from gproc.nodespec import Place, format_path
from gproc.trust.signing import Keys
from gproc.trust.ticket import Grant, read_grant
from gproc.wire.messages import Join

ADOPTED_FROM: Final = 1 << 32
"""Numbers of adopted children begin here: no child that is at home has one."""


class NotBelow(TrustError):
    """A node that wants to join asks at one that is not above it."""

    def __init__(self, place: Place, own: Place) -> None:
        super().__init__(place, own)
        self.place = place
        self.own = own

    def __str__(self) -> str:
        here = f"node {format_path(self.own)}" if self.own else "the master"
        return f"its place is {format_path(self.place)}, which is not below {here}"


def shown_grant(join: Join, keys: Keys) -> Grant | None:
    """The grant that a node shows; None if it shows none.  Raises: TrustError if it is not its own."""
    if join.grant is None:
        return None
    grant = read_grant(join.grant, keys)
    if grant.nonce != join.node.nonce:
        raise TrustError("it shows a grant of another node")
    return grant


def is_at_home(place: Place, own: Place) -> bool:
    """Whether a node of this place is at home below the node `own`; () is the master.  Raises: NotBelow."""
    if len(place) <= len(own) or place[: len(own)] != own:
        raise NotBelow(place, own)
    return len(place) == len(own) + 1


def adopted_numbers() -> Iterator[int]:
    """The numbers of one node's adopted children.  No number comes twice.  A message to a child that has left may still
    be on its way: it must not reach another child, which would run the former's part of a job."""
    return itertools.count(ADOPTED_FROM)


def shown_number(number: int) -> str:
    """A child's number for people: +1 is the first adopted one."""
    return str(number) if number < ADOPTED_FROM else f"+{number - ADOPTED_FROM + 1}"


def may_move(place: Place, above: Place) -> bool:
    """Whether a node of this place may be reached through the node `above`."""
    return len(above) < len(place) and place[: len(above)] == above
