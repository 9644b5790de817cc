"""Output of a job that is looked at later: each line with the time at which it came to the master."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gproc.cli.showing import AsItComes, labels_of
from gproc.cli.writing import DESCRIPTORS, Writing
from gproc.client.lines import Lines
from gproc.nodespec import Place


class Stamped(AsItComes):
    """Show whole lines, as they come.  A line that came in pieces has the time of its last one."""

    def __init__(self, writing: Writing, *, label: bool, coloured: bool) -> None:
        super().__init__(writing, label=label, coloured=coloured, equal=None)
        self._labels: list[bytes] = []
        self._stamps: list[bytes] = []

    def begin(self, places: Sequence[Place]) -> None:
        self._labels = [b""] * len(places)
        if self._label:
            self._labels = labels_of(places, self._writing.naming, coloured=self._coloured)
        self._stamps = list(self._labels)
        for stream in DESCRIPTORS:
            self._lines[stream] = Lines(len(places), self._stamps)

    def stamp(self, rank: int, time_s: float) -> None:
        """The next output of this rank came to the master at this time."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time_s)) + f".{int(time_s % 1 * 1000):03} "
        self._stamps[rank] = moment.encode() + self._labels[rank]
