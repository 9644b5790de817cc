"""Faults: what is done to which nodes, for how long; how it is undone; and what it may cost a node.

`draw` plans the faults of one blow from a seed; `Fault.strike` and `Fault.undo` execute it.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tests.chaos.cluster import LEASE_S, ChaosCluster, is_below
from tests.chaos.machines import FRONT

Kind = Literal[
    "killed", "ended", "rebooted", "stopped", "machine frozen", "cut both ways", "cut one way", "slow", "disk full"
]
KINDS: Final[tuple[Kind, ...]] = (
    "killed", "ended", "rebooted", "stopped", "machine frozen", "cut both ways", "cut one way", "slow", "disk full",
)  # fmt: skip

ENDS: Final = frozenset[Kind]({"killed", "ended", "rebooted"})
"""What runs on such a node is lost."""

FAR_S: Final = (0.5, 7.5)
"""How long a fault takes: until its node is reached again, it is less than a lease (`cluster.LEASE_S`)."""

BEYOND_S: Final = LEASE_S + 4.0
"""Some take so long that a lease ends meanwhile."""
BEYOND_PART: Final = 0.03

STAGGER_S: Final = 1.0
"""All faults of a blow begin within this time."""

SLOW_MBIT: Final = 8


@dataclass(frozen=True)
class Fault:
    """victim: a node.  ways: what is cut, as (source, sink)."""

    kind: Kind
    victim: str
    begins_s: float
    lasts_s: float
    ways: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        (source, sink), *more = self.ways or (("", ""),)
        links = f" ({source} to {sink}{f' and {len(more)} more' if more else ''})" if source else ""
        return f"{self.kind}: {self.victim}{links}, {self.lasts_s:.1f} s"

    @property
    def may_lose(self) -> bool:
        """What runs on its victim may be lost."""
        alone = self.kind in ("stopped", "machine frozen") or any(FRONT in way for way in self.ways)
        return self.kind in ENDS or (alone and self.lasts_s > FAR_S[1])

    def strike(self, cluster: ChaosCluster) -> None:
        machines, slave = cluster.machines, cluster.slaves[self.victim]
        match self.kind:
            case "killed":
                slave.kill(signal.SIGKILL)
            case "ended":
                slave.kill(signal.SIGTERM)
            case "rebooted":
                machines.crash(self.victim)
            case "stopped":
                slave.kill(signal.SIGSTOP)
            case "machine frozen":
                machines[self.victim].signal_all(signal.SIGSTOP)
            case "cut both ways" | "cut one way":
                machines.cut(self.ways)
            case "slow":
                machines.slow(self.victim, SLOW_MBIT)
            case "disk full":
                machines[self.victim].fill()

    def undo(self, cluster: ChaosCluster) -> None:
        machines, slave = cluster.machines, cluster.slaves[self.victim]
        match self.kind:
            case "killed" | "ended":
                slave.wait()
                cluster.start(self.victim)
            case "rebooted":
                slave.wait()
                machines.boot(self.victim)
                cluster.start(self.victim)
            case "stopped":
                slave.kill(signal.SIGCONT)
            case "machine frozen":
                machines[self.victim].signal_all(signal.SIGCONT)
                slave.kill(signal.SIGCONT)
            case "cut both ways" | "cut one way":
                machines.mend(self.ways)
            case "slow":
                machines.quicken(self.victim)
            case "disk full":
                machines[self.victim].make_room()


def draw(source: random.Random, paths: Sequence[str], count: int) -> list[Fault]:
    """The faults of one blow, each with a victim of its own, in the order of their beginnings."""
    faults = []
    for victim in _victims(source, paths, count):
        kind = source.choice(KINDS)
        lasts_s = BEYOND_S if source.random() < BEYOND_PART else source.uniform(*FAR_S)
        ways = _ways(source, kind, victim, [FRONT, *paths]) if kind.startswith("cut") else ()
        faults.append(Fault(kind, victim, source.uniform(0, STAGGER_S), lasts_s, ways))
    return sorted(faults, key=lambda fault: fault.begins_s)


def _victims(source: random.Random, paths: Sequence[str], count: int) -> list[str]:
    """Any nodes, or a line of parents and children with any others."""
    left = list(paths)
    source.shuffle(left)
    if source.random() < 0.5:
        lowest = source.choice(paths)
        left.sort(key=lambda path: not is_below(lowest, path))  # stable: the line first, then the others as shuffled
    return left[:count]


def _ways(source: random.Random, kind: Kind, victim: str, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The links of a cut: all of the victim's, or the one to its parent; both ways, or one."""
    others = [name for name in names if name != victim]
    if source.random() < 0.4:
        others = [victim.rpartition("/")[0] or FRONT]
    down = tuple((other, victim) for other in others)
    up = tuple((victim, other) for other in others)
    return (*down, *up) if kind == "cut both ways" else source.choice((down, up))
