"""Measure how much one host whose link has a tenth of the others' rate slows its siblings.

It is the first child, the root of one tree (gproc/spread/trees.py), so that half of the payload goes through it to all
others: the worst case.  Its parent finds that out during the first payload; from then on the host sends to nobody.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from statistics import median
from typing import Final

from bench.figures import MIB, Figure, Settings, Yardstick, samples
from bench.lab import Lab
from bench.links import RUNS, Layout
from bench.payload import DATE, cold_root, random_file
from bench.tree import Tree, TreeFailed

HOSTS: Final = 20
SLOWER: Final = 10

ALLOWED: Final = 1.1
"""The aim: a slow child slows its siblings by at most a tenth."""


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: NoLab, LabFailed."""
    layout = Layout("flat", min(HOSTS, 10 * max(settings.lab_hosts)), 1)
    slow = layout.names()[0]
    rate_mbit = max(1, settings.lab_mbit // SLOWER)
    last: dict[bool, list[float]] = {}
    middle: dict[bool, list[float]] = {}
    for one_is_slow in (False, True):
        others = {slow: rate_mbit} if one_is_slow else {}
        last[one_is_slow], middle[one_is_slow] = [], []
        with Lab(layout.names(), settings.lab_mbit, others) as lab, Tree(layout.racks, 1, lab) as tree:
            root = cold_root(f"{tree.place}/root", DATE)
            random_file(f"{root}/first", MIB)
            _arrivals(tree, f"{root}/first", layout)
            for run in range(1 + max(1, min(RUNS, settings.runs))):
                random_file(f"{root}/payload.{run}", settings.lab_mib * MIB)
                arrivals = _arrivals(tree, f"{root}/payload.{run}", layout)
                del arrivals[slow]
                last[one_is_slow].append(max(arrivals.values()))
                middle[one_is_slow].append(median(arrivals.values()))
    what = f"{settings.lab_mib} MiB to {layout.hosts} hosts at {settings.lab_mbit} Mbit/s, one of them at {rate_mbit}"
    for which, runs in (("known from the payload before", slice(1, None)), ("met for the first time", slice(1))):
        for name, found in (("last", last), ("middle", middle)):
            usual = samples(found[False][runs])
            yield Figure(
                what=f"{what}, {which}: the {name} of its siblings has it", unit="s",
                measured=samples(found[True][runs]), budget=ALLOWED * usual.median,
                yardstick=Yardstick("without a slow one", usual),
            )  # fmt: skip


def _arrivals(tree: Tree, path: str, layout: Layout) -> dict[str, float]:
    """Seconds from the command's start to the program's start on each node, which then has the whole payload.

    All hosts are namespaces of this machine and share its clock.
    """
    root, _, name = path.rpartition("/")
    began_s = time.time()
    done = tree.run("e", "-l", "-r", root, "-f", f"/{name}", layout.nodes, DATE, "+%s.%N")
    found = {}
    for line in done.output.decode().splitlines():
        if (match := re.match(r"\W*(\d+(?:/\d+)*)\W.*?(\d+\.\d{9})$", line)) is not None:
            found[match[1]] = float(match[2]) - began_s
    if len(found) != layout.hosts:
        raise TreeFailed(f"{layout.hosts} nodes printed {done.output[:200]!r}")
    return found
