"""One job of a session, as the client knows it.  Pure."""

from __future__ import annotations

from typing import Final

from gproc.client.events import Stream
from gproc.errors import JobRejected
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Place
from gproc.request.outcome import Outcome
from gproc.request.spec import Request
from gproc.tasks.task import Task
from gproc.wire import frames
from gproc.wire.job_messages import Viewing
from gproc.wire.tree_rows import NodeDrained

STREAMS: Final[dict[int, Stream]] = {frames.STDOUT: "stdout", frames.STDERR: "stderr", frames.FILES: "files"}
NUMBERS: Final[dict[Stream, int]] = {name: number for number, name in STREAMS.items()}


class SessionJob:
    """One job of a session.

    naming: how its nodes are called.
    number: None until the master has taken it.  places, nodes: by rank.  missing: nodes that are not connected, folded.
    absent, drained: as of `Accepted`.
    leaves_files: the ranks that have written files in their working directory that are gone with it.
    outcomes: by rank, as they come.  rejected: why the master did not take it.
    wire_number: stands for it in messages: its number, or that of a view of a job that is not this session's.
    left: whether the session has left it, or has seen what it wanted to see.
    viewed: what the master said of a job that is looked at; None for one of this session.
    window_bytes: the output of each stream that the master sends before any is granted again.
    stdin_credit: how many bytes of standard input may be written now.  stdin_bytes: how many were written.
    speaking: by rank, the task whose output comes, if the master hands out its tasks.
    concluded: what became of all of its tasks then: an exit status, and lines for people.
    early_signals: signals that wait until the master has taken it.
    """

    def __init__(self, serial: int, request: Request, naming: Naming = PLACES) -> None:
        self.naming = naming
        self.serial = serial
        self.request = request
        self.number: int | None = None
        self.wire_number = 0
        self.left = False
        self.viewed: Viewing | None = None
        self.moment_s: float | None = None
        self.places: tuple[Place, ...] = ()
        self.nodes: tuple[str, ...] = ()
        self.missing = ""
        self.absent: tuple[tuple[str, float, str], ...] = ()
        self.drained: tuple[tuple[str, NodeDrained], ...] = ()
        self.outcomes: dict[int, Outcome] = {}
        self.speaking: dict[int, Task] = {}
        self.concluded: tuple[int, tuple[str, ...]] | None = None
        self.leaves_files: set[int] = set()
        self.rejected: JobRejected | None = None
        self.window_bytes = frames.CLIENT_WINDOW_BYTES
        self.stdin_credit = 0
        self.early_signals: dict[int, None] = {}
        self.stdin_bytes = 0
        self.owed: dict[Stream, int] = {"stdout": 0, "stderr": 0, "files": 0}

    @property
    def ended(self) -> bool:
        """Whether no event of it will come any more."""
        over = self.number is not None and len(self.outcomes) == len(self.places)
        return over or self.left or self.rejected is not None

    def outcomes_by_node(self) -> dict[str, Outcome]:
        """The outcomes so far, in the order of ranks."""
        return {self.nodes[rank]: outcome for rank, outcome in sorted(self.outcomes.items())}
