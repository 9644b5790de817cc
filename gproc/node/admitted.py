"""A job that this slave has taken, because the master signed it."""

from __future__ import annotations

from gproc.node.program import Program, State
from gproc.trust.orders import JobOrders
from gproc.trust.ticket import Ticket


class Admitted:
    """A job that runs below this node, and on it if it has a `program`."""

    def __init__(self, ticket: Ticket, orders: JobOrders) -> None:
        self.ticket = ticket
        self.orders = orders
        self.program: Program | None = None

    @property
    def runs_here(self) -> bool:
        return self.program is not None and self.program.state is not State.DONE

    def end_here(self) -> None:
        if self.program is not None:
            self.program.end()
