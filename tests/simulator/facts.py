"""What is known of simulated jobs from outside, and what is simulated besides links and nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gproc.request.outcome import Outcome
    from tests.simulator.front import Wanted


class Switches(NamedTuple):
    """keeps: the master has a disk and may crash, and jobs have an input.  turns: half of the jobs run on a few nodes
    at a time.  fills: the master's disk is full at times, and of these jobs some begin nowhere any more if too many
    nodes have failed.  ends: it ends cleanly at times.  maps: half of the jobs have a list of tasks;
    with a disk, half of these leave it to the master.  refuses: a full disk takes no records, input and lists either.
    clocks: each machine has its own, and dates jump.
    """

    keeps: bool = False
    turns: bool = False
    fills: bool = False
    ends: bool = False
    maps: bool = False
    refuses: bool = False
    clocks: bool = False

    @property
    def words(self) -> str:
        """As switches of `python -m tests.simulator`."""
        return "".join(f" --{name}" for name, is_on in self._asdict().items() if is_on)


class Violation(Exception):
    """Something that must never happen."""


class JobFacts:
    """What is known of one job from outside.

    input_bytes: of its standard input; None: it has none.  outcomes: of the ranks that have ended, as far as the
    present master knows.  is_promised: whether it goes on without its client and its master.  is_late: whether its
    first output went to its client alone.  is_over: whether all of its ranks have ended.  is_gone: whether its master
    has crashed, and it ended with it.  signals: how many signals that end nothing its programs were sent.  may_lack:
    whether the disk was full while it ran, so that not all of its output is kept.  given_up: when the present master
    said that nothing of a rank runs, or will run.  never: the ranks for which a former master had said so, and written
    it down.
    """

    def __init__(self, size: int, wanted: Wanted) -> None:
        self.size = size
        self.input_bytes = wanted.input_bytes
        self.is_late = not (wanted.keep.detach or wanted.keep.survive)
        self.outcomes: dict[int, Outcome] = {}
        self.is_promised = self.is_over = self.is_gone = self.may_lack = False
        self.signals = 0
        self.given_up: dict[int, float] = {}
        self.never: set[int] = set()
