"""On the client: the files that a job's nodes bring back (`gproc e --collect`), each node's in a directory of its own.

Trust: as of `gproc.client.receiving`.  Besides, a node can only make files whose paths match what was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial

from gproc.client.complaints import Complaints
from gproc.client.receiving import IncomingTree, allow_descriptors, opened_home
from gproc.errors import EXIT_GPROC
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path
from gproc.request.globs import Globs
from gproc.request.outcome import Outcome, Returned, Signalled
from gproc.shown import shown

_CUT_OFF = "its files stopped coming before the end; those that arrived are complete"


class BroughtBack:
    """The files of one job."""

    def __init__(self, home: str, globs: tuple[bytes, ...], naming: Naming = PLACES) -> None:
        """Raises: GprocError if `home` is no directory."""
        self._globs = Globs(globs)
        self._naming = naming
        self._home_path = os.fsencode(home)
        self._home = opened_home(home)
        self._places: Sequence[Path] = ()
        self._arrivals: list[IncomingTree] = []
        self._complaints = Complaints(naming)
        self._complained: set[int] = set()

    def begin(self, places: Sequence[Path]) -> None:
        self._places = places
        self._complaints.begin(places)
        allow_descriptors()
        for rank, place in enumerate(places):
            name = self._naming.file_name(place).encode()
            complain = partial(self._complain, rank)
            self._arrivals.append(IncomingTree(self._home, self._home_path, name, complain, globs=self._globs))

    def output(self, rank: int, data: memoryview) -> None:
        self._arrivals[rank].feed(data)

    def finish(self) -> None:
        """Drop files that are incomplete."""
        for arrival in self._arrivals:
            arrival.close()
        os.close(self._home)

    def conclude(self, outcomes: Mapping[int, Outcome]) -> tuple[int, list[str]]:
        """The exit status for files that could not be brought back, and lines for stderr; 0 if all could.

        A glob that nothing matches is no failure.
        """
        unmatched: dict[int, list[Path]] = {}
        for rank, arrival in enumerate(self._arrivals):
            outcome = outcomes.get(rank)
            if not isinstance(outcome, Returned | Signalled):
                continue
            if not arrival.is_whole and not arrival.was_dropped:
                self._complain(rank, _CUT_OFF)
            elif arrival.is_whole and rank not in self._complained:  # a file that could not be sent matches too
                for index in set(range(len(self._globs.globs))) - arrival.matched:
                    unmatched.setdefault(index, []).append(self._places[rank])
        lines = self._complaints.lines()
        for index, places in sorted(unmatched.items()):
            glob = shown(self._globs.globs[index])
            lines.append(f"{self._naming.fold(places)}: nothing to collect: the job wrote no file that matches {glob}")
        return (EXIT_GPROC if self._complained else 0), lines

    def _complain(self, rank: int, line: str) -> None:
        self._complained.add(rank)
        self._complaints.add(rank, line)
