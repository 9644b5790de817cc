"""What can be done to a running job, as values.  The master signs them (`gproc.trust.orders`).  Pure."""

from __future__ import annotations

from typing import Annotated, Union

import msgspec

from gproc.request.signals import can_be_sent
from gproc.request.spec import TerminalSize


class SendSignal(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A signal for every process of the job on every node."""

    signum: Annotated[int, msgspec.Meta(ge=1)]

    def __post_init__(self) -> None:
        if not can_be_sent(self.signum):
            raise ValueError(f"signal {self.signum} is none that a job can be sent")


class SetTerminalSize(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The caller's terminal has this size now; the program's terminal gets the same."""

    size: TerminalSize


class SignalNodes(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A signal for every process of the job on some nodes: a node specification."""

    signum: Annotated[int, msgspec.Meta(ge=1)]
    nodes: str

    def __post_init__(self) -> None:
        if not can_be_sent(self.signum):
            raise ValueError(f"signal {self.signum} is none that a job can be sent")


class ShowStacks(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Where are the processes of the job?  nodes: a node specification; "" for all.

    inquiry: comes back with the answers.  debugger: whether gdb may stop each process for a moment.
    """

    inquiry: int
    nodes: str
    debugger: bool


Act = Union[SendSignal, SetTerminalSize, SignalNodes, ShowStacks]  # noqa: UP007 - on Python 3.11 msgspec takes no other form
