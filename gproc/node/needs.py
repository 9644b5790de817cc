"""What a program needs of the node that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gproc.launch.launcher import Process
from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.nodespec import Place
from gproc.request.acts import ShowStacks
from gproc.store.root import Root
from gproc.trust.outcomes import SignedEnd
from gproc.trust.ticket import Ticket
from gproc.wire.endings import OutputGone
from gproc.wire.messages import Signed
from gproc.wire.stacks import StacksShown


class NodeServices(Protocol):
    """What a program needs of the node that it runs on."""

    @property
    def place(self) -> Place: ...

    def sign(self, end: SignedEnd) -> Signed:
        """How a program ended, as this run of the slave signs it."""

    def output_gone(self, ticket: Ticket, rank: int, stream: int, size: int) -> OutputGone:
        """How much of an output stream is not here any more, as this run of the slave signs it."""

    async def root(self, ticket: Ticket, tell: Callable[[int, bool], None]) -> Root | None:
        """The bundle of a job; None if the job has none.  `tell` is called with the progress of a large one.

        Raises: StoreError.
        """

    async def turn(self, uid: int, *, heavy: bool) -> None:
        """Wait until it is this user's turn to have a program started."""

    def take_turn(self, uid: int, *, heavy: bool) -> bool:
        """Whether it is this user's turn now, because no other user has one or waits for one."""

    def spawn(
        self, ticket: Ticket, root: Root | None, added: tuple[bytes, ...], handles: tuple[int, int, int], ended: OnEnd,
        *, alike: bool = False,
    ) -> Process:  # fmt: skip
        """Start the program with the request's variables, `added` and GPROC_ROOT.

        handles: the program's 0, 1 and 2.  They are taken over in any case, also if this raises.
        alike: the view of another task of this ticket serves it too.

        Raises: LaunchError, OSError.
        """

    def collect(self, ticket: Ticket, root: Root | None, directory: int, to: int, ended: OnEnd) -> Process:
        """Have the files that the job brings back written to `to`.  Both descriptors are taken over in any case.

        Raises: LaunchError, OSError.
        """

    def look(
        self, ticket: Ticket, rank: int, processes: Sequence[Process], act: ShowStacks,
        tell: Callable[[StacksShown], None],
    ) -> None:  # fmt: skip
        """Find out where the processes of a job are.  tell: gets the answer."""

    def tidy(self, ticket: Ticket) -> None:
        """Remove what a job has left for `collect`."""


class OnEnd(Protocol):
    def __call__(self, ending: ProgramEnded | SpawnFailed, /) -> None: ...
