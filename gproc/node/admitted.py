"""A job that this slave has taken, because the master signed it."""

from __future__ import annotations

from gproc.errors import TrustError
from gproc.node.program import Program, State
from gproc.trust.orders import JobOrders
from gproc.trust.ticket import Ticket


class Admitted:
    """A job that runs below this node, and on it if it has a `program`.

    too_late: why no program of it may begin here: its ticket was here before, or is too old.  Nodes below may run one.
    """

    def __init__(self, ticket: Ticket, orders: JobOrders, too_late: TrustError | None) -> None:
        self.ticket = ticket
        self.orders = orders
        self.too_late = too_late
        self.program: Program | None = None

    @property
    def runs_here(self) -> bool:
        return self.program is not None and self.program.state is not State.DONE

    def end_here(self) -> None:
        if self.program is not None:
            self.program.end()
