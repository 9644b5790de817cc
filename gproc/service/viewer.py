"""What a running job tells the clients that look at it."""

from __future__ import annotations

from typing import Protocol

from gproc.request.outcome import Outcome
from gproc.wire import messages


class Viewer(Protocol):
    """A client that looks at a job without being attached to it."""

    def finished(self, rank: int, outcome: Outcome) -> None: ...

    def tell(self, message: messages.Credit | messages.OutOfReach) -> None: ...
