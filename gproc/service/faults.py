"""The last faults of the tree: which node, what, since when, and what was done.  Pure: each time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final

from gproc.nodespec import Place
from gproc.service.registry import Node, those
from gproc.shown import shown_text
from gproc.wire.job_messages import FaultRow

FAULTS_MAX: Final = 100

RUNS_ON: Final = "its programs run on until its lease ends, and another way is looked for"
GIVEN_UP: Final = "given up: its lease has ended, and so have its programs"
ALL_RUN_ON: Final = "their programs run on until their leases end, and other ways are looked for"
ALL_GIVEN_UP: Final = "given up: their leases have ended, and so have their programs"


class _Fault:
    """lost: the nodes that were lost together and were not reached again; for the other nodes, `done` is known."""

    def __init__(
        self, place: Place, host: str, what: str, since_s: float, lost: Collection[Node], below: int, done: str
    ) -> None:
        self.place = place
        self.host = host
        self.what = what
        self.since_s = since_s
        self.below = below
        self.done = done
        self.done_s = 0.0 if lost else since_s
        self._lost = set(lost)
        self._count = len(lost)

    def end(self, node: Node, done: str, now_s: float) -> None:
        if node in self._lost:
            self._lost.remove(node)
            self.done, self.done_s = done, now_s

    def row(self, boottime_s: float) -> FaultRow:
        is_over = bool(self._lost) and all(boottime_s >= node.lease_ends_s for node in self._lost)
        back = self._count - len(self._lost)
        done, done_s = self.done, 0.0 if self._lost else self.done_s
        if self._count == 1 and self._lost:
            done = GIVEN_UP if is_over else RUNS_ON
        elif self._count > 1 and self._lost:
            others = ALL_GIVEN_UP if is_over else ALL_RUN_ON
            done = f"{back} of {self._count} are in the tree again; of the others: {others}" if back else others
        elif self._count > 1:
            done = f"all {self._count} are in the tree again"
        return FaultRow(self.place, self.host, self.what, self.since_s, done, done_s, self.below)


class Faults:
    def __init__(self) -> None:
        self._faults: deque[_Fault] = deque(maxlen=FAULTS_MAX)
        self.count = 0
        """How many faults there were on all nodes, also those that are no longer listed."""

    def add(self, place: Place, host: str, what: str, done: str, now_s: float) -> None:
        """A fault about which something was done at once.  now_s: Unix time.  The same one again is one line."""
        what = shown_text(what)
        for fault in self._faults:
            if (fault.place, fault.host, fault.what, fault.done) == (place, host, what, done):
                fault.done_s = now_s
                return
        self._faults.append(_Fault(place, host, what, now_s, (), 0, done))
        self.count += 1

    def lose(self, place: Place, host: str, lost: Sequence[Node], reason: str, now_s: float) -> None:
        """No way leads to these nodes, which are at this place or below it.  It is one fault."""
        with_it = any(node.place == place for node in lost)
        below = len(lost) - with_it
        what = "cannot be reached"
        if below:
            rest = f"{those(below)} below it"
            what = f"cannot be reached, nor can {rest}" if with_it else f"{rest} cannot be reached"
        fault = _Fault(place, host, f"{what}: {shown_text(reason)}", now_s, lost, below, "")
        self._faults.append(fault)
        self.count += len(lost)

    def end(self, node: Node, done: str, now_s: float) -> None:
        """What became of a node that had been lost."""
        for fault in self._faults:
            fault.end(node, done, now_s)

    def rows(self, boottime_s: float) -> tuple[FaultRow, ...]:
        """All of them, the oldest first.  boottime_s: of the clock of leases."""
        return tuple(fault.row(boottime_s) for fault in self._faults)
