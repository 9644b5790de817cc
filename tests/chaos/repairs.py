"""How long it takes until a node whose parent is gone has another one: measured, never asserted."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults import Fault
from tests.chaos.machines import FRONT

CUTS: Final = ("cut both ways", "cut one way")
GONE: Final = ("killed", "ended", "rebooted", "stopped", "machine frozen", *CUTS)


class Repairs:
    """Seconds from a fault until the master reaches a child of its victim by another way, by what happened."""

    def __init__(self) -> None:
        self._taken_s: defaultdict[str, list[float]] = defaultdict(list)
        self._still: defaultdict[str, int] = defaultdict(int)

    def note(self, cluster: ChaosCluster, times_s: Mapping[Fault, tuple[float, float]]) -> None:
        """times_s: when each fault of a blow began, and when it was over."""
        victims = {fault.victim for fault in times_s if fault.kind in GONE}
        reached = cluster.master.said(r" (\d\S*) \(\S+\) is reached ")
        for fault, (begin_s, end_s) in times_s.items():
            for child in self._children(cluster, fault, victims):
                after = [time_s for time_s, match in reached if match[1] == child and time_s > begin_s]
                label = fault.kind + (", and its parent" if cluster.parent(fault.victim) in victims else "")
                if after and after[0] < end_s:
                    self._taken_s[label].append(after[0] - begin_s)
                else:
                    self._still[label] += 1

    def _children(self, cluster: ChaosCluster, fault: Fault, victims: set[str]) -> list[str]:
        """The nodes that have to look for another parent, and whose own way to the others is free."""
        if fault.kind not in GONE or (fault.kind in CUTS and not any(FRONT in way for way in fault.ways)):
            return []
        return [path for path in cluster.paths if cluster.parent(path) == fault.victim and path not in victims]

    def __str__(self) -> str:
        """A line for each kind.  Children that needed no other way, or had none when it was over, are counted only."""
        lines = []
        for label in sorted(self._taken_s | self._still):
            taken = self._taken_s.get(label, [])
            figures = f"median {statistics.median(taken):.1f} s, most {max(taken):.1f} s" if taken else "-"
            still = self._still.get(label, 0)
            lines.append(f"{label}: {len(taken)} children: {figures}; {still} needed none or had none in time")
        return "\n".join(lines)
