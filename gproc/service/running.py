"""The running jobs by their numbers, and by the nodes that they run on."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping

from gproc.nodespec import Place
from gproc.service.live import LiveJob


class RunningJobs(UserDict[int, LiveJob]):
    """The running jobs by number.  A node asks for its lease every 15 s, so the cost of finding its jobs depends only
    on how many it
    has.

    Most jobs are over before any node asks, so a job is filed by its nodes when the first one does.
    """

    def __init__(self, jobs: Mapping[int, LiveJob] | None = None) -> None:
        self._by_place: dict[Place, dict[int, LiveJob]] = {}
        self._not_filed: dict[int, LiveJob] = {}
        super().__init__(jobs)

    def __setitem__(self, number: int, live: LiveJob) -> None:
        super().__setitem__(number, live)
        self._not_filed[number] = live

    def __delitem__(self, number: int) -> None:
        live = self.data.pop(number)
        if self._not_filed.pop(number, None) is None:
            for place in live.job.places:
                self._unfile(place, number)

    def at(self, place: Place) -> list[LiveJob]:
        """The jobs with a rank on this node that has not ended."""
        for number, live in self._not_filed.items():
            for each in live.job.places:
                self._by_place.setdefault(each, {})[number] = live
        self._not_filed.clear()
        found: list[LiveJob] = []
        for number, live in list(self._by_place.get(place, {}).items()):
            if live.job.rank_at(place) in live.job.outcomes:
                self._unfile(place, number)
            else:
                found.append(live)
        return found

    def _unfile(self, place: Place, number: int) -> None:
        there = self._by_place.get(place)
        if there is not None:
            there.pop(number, None)
            if not there:
                del self._by_place[place]
