"""A job that this slave has taken, because the master signed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from gproc.errors import TrustError
from gproc.node.program import Program, State
from gproc.trust.orders import JobWords
from gproc.trust.ticket import Ticket, TicketVerifier
from gproc.wire.messages import Signed

T = TypeVar("T")


class Admitted:
    """A job that runs below this node, and on it if it has a `program`.

    refused: why no program of it will ever begin here: its ticket was here before, is too old, or is for other nodes.
    A refused job stays refused, because the node signs the refusal.  Nodes below may still run a program of it.
    """

    def __init__(self, ticket: Ticket, words: JobWords, refused: TrustError | None) -> None:
        self.ticket = ticket
        self.words = words
        self.refused = refused
        self.program: Program | None = None

    def begin(self, verifier: TicketVerifier, turn: Signed | None, make: Callable[[], Program]) -> Program:
        """Its program here, which may run already.  Raises: TrustError if none begins, or not yet."""
        if self.program is None:
            self._or_never(lambda: verifier.check_target(self.ticket))
            verifier.check_turn(self.ticket, turn)
            self.program = self._or_never(make)
        return self.program

    def _or_never(self, step: Callable[[], T]) -> T:
        if self.refused is not None:
            raise self.refused
        try:
            return step()
        except TrustError as error:
            self.refused = error
            raise

    @property
    def runs_here(self) -> bool:
        return self.program is not None and self.program.state is not State.DONE

    def end_here(self) -> None:
        if self.program is not None:
            self.program.end()


def payer_of(admitted: Mapping[int, Admitted], bundle: bytes) -> int | None:
    """The user for whom a node keeps a bundle; None if no job here has it."""
    tickets = (each.ticket for each in admitted.values())
    return next((each.caller.uid for each in tickets if each.request.is_of(bundle)), None)
