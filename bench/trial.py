"""Measurements that can be taken on two checkouts in turns: what `bench.compare` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from bench import processes
from bench.checkout import Checkout
from bench.figures import MB, Settings
from bench.tree import Done, Part, Tree, cpu_since


class NotHere(Exception):
    """Something cannot be measured on this machine; says why."""


class Reading(msgspec.Struct, frozen=True):
    """One value of a figure, above 0; less is better, whatever it is.  what: the figure's name, the same each time."""

    what: str
    unit: str
    value: float


Step = Callable[[], Sequence[Reading]]
"""Takes one measurement on one side."""


class Trial(msgspec.Struct, frozen=True):
    """A measurement as steps, each short.

    steps: what is entered has the steps of one checkout, and ends its processes when it is left.  turns: how often
    each step is taken, if the user does not say.  turns_of_a_tree: after so many of them both sides start anew, since
    two trees of the same commit differ too (in what their heaps happened to need, or where their jobs run).
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
