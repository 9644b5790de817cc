"""The last faults of the tree: which node, what, since when, and what was done.  Pure: each time is an argument."""

from __future__ import annotations

from collections import deque
from typing import Final

from gproc.nodespec import Place
from gproc.service.registry import Node
from gproc.shown import shown_text
from gproc.wire.job_messages import FaultRow

FAULTS_MAX: Final = 100

RUNS_ON: Final = "its programs run on until its lease ends, and another way is looked for"
GIVEN_UP: Final = "given up: its lease has ended, and so have its programs"


class _Fault:
    """node: that has been lost and was not reached again; None: nothing more will be done."""

    def __init__(self, place: Place, host: str, what: str, since_s: float, node: Node | None, done: str) -> None:
        self.place = place
        self.host = host
        self.what = what
        self.since_s = since_s
        self.node = node
        self.done = done
        self.done_s = since_s if node is None else 0.0


class Faults:
    def __init__(self) -> None:
        self._faults: deque[_Fault] = deque(maxlen=FAULTS_MAX)
        self.count = 0
        """All, those too that are forgotten."""

    def add(self, place: Place, host: str, what: str, done: str, now_s: float) -> None:
        """A fault about which something was done at once.  now_s: Unix time.  The same one again is one line."""
        what = shown_text(what)
        for fault in self._faults:
            if (fault.place, fault.host, fault.what, fault.done) == (place, host, what, done):
                fault.done_s = now_s
                return
        self._append(_Fault(place, host, what, now_s, None, done))

    def lose(self, node: Node, reason: str, now_s: float) -> None:
        """No way leads to a node."""
        fault = _Fault(node.place, node.info.name, f"cannot be reached: {shown_text(reason)}", now_s, node, RUNS_ON)
        self._append(fault)

    def _append(self, fault: _Fault) -> None:
        self._faults.append(fault)
        self.count += 1

    def end(self, node: Node, done: str, now_s: float) -> None:
        """What became of a node that had been lost."""
        for fault in self._faults:
            if fault.node is node:
                fault.node, fault.done, fault.done_s = None, done, now_s

    def rows(self, boottime_s: float) -> tuple[FaultRow, ...]:
        """All of them, the oldest first.  boottime_s: of the clock of leases."""
        found = []
        for fault in self._faults:
            is_over = fault.node is not None and boottime_s >= fault.node.lease_ends_s
            done = GIVEN_UP if is_over else fault.done
            found.append(FaultRow(fault.place, fault.host, fault.what, fault.since_s, done, fault.done_s))
        return tuple(found)
