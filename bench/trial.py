"""Measurements that `bench.compare` can take on two checkouts in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from bench import processes
from bench.checkout import Checkout
from bench.figures import MB, Settings
from bench.tree import Done, Part, Tree, cpu_since


class NotHere(Exception):
    """Something cannot be measured on this machine; the message says why."""


class Reading(msgspec.Struct, frozen=True):
    """One value of a figure, above 0; less is always better.  what: the figure's name, the same each time."""

    what: str
    unit: str
    value: float


Step = Callable[[], Sequence[Reading]]
"""Takes one measurement on one side."""


class Trial(msgspec.Struct, frozen=True):
    """A measurement in short steps.

    steps: a context with the steps of one checkout, which ends its processes.  turns: how often each step is taken by
    default.  turns_of_a_tree: the number of turns after which both sides start new trees, because two trees of the same
    commit differ too (in the sizes of their heaps, or in the processors that run their jobs).
    """

    steps: Callable[[Checkout, Settings], AbstractContextManager[Sequence[Step]]]
    turns: int
    turns_of_a_tree: int


def timed(tree: Tree, what: str, run: Callable[[], Done]) -> list[Reading]:
    """Run a command of this tree: its wall time, and the CPU time of all processes until it has ended."""
    return _timed(tree, what, run)[1]


def timed_with_peaks(tree: Tree, what: str, run: Callable[[], Done]) -> list[Reading]:
    """The same, and the peak memory of the largest process of each kind."""
    watched = [(part, pid) for _, part, pid in tree.processes()]
    for _, pid in watched:
        processes.forget_peak(pid)
    done, readings = _timed(tree, what, run)
    highest: dict[Part | str, float] = {"client": done.peak_bytes / MB}
    for part, pid in watched:
        highest[part] = max(highest.get(part, 0.0), processes.peak_bytes(pid) / MB)
    return readings + [Reading(f"{what}: peak memory, {part}", "MB", peak) for part, peak in sorted(highest.items())]


def _timed(tree: Tree, what: str, run: Callable[[], Done]) -> tuple[Done, list[Reading]]:
    before = tree.cpu_times()
    done = run()
    cpu_ms = sum(cpu_since(tree, before, [done]).values())
    return done, [Reading(what, "s", done.wall_s), Reading(f"{what}: CPU of all processes", "ms", cpu_ms)]
