"""One host among many whose link has a tenth of the others' rate: how much its siblings are slowed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from statistics import median
from typing import Final

from bench.figures import MIB, Figure, Settings, Yardstick, samples
from bench.lab import Lab
from bench.links import Layout
from bench.payload import cold_root, random_file
from bench.tree import Tree, TreeFailed

HOSTS: Final = 20
SLOWER: Final = 10

ALLOWED: Final = 1.1
"""Issue 3: a slow child does not slow its siblings by more than a tenth."""

DATE: Final = "/bin/date"


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: NoLab, LabFailed."""
    layout = Layout("flat", min(HOSTS, 10 * max(settings.lab_hosts)), 1)
    size_bytes = settings.lab_mib * MIB
    last, middle = {}, {}
    slow = layout.names()[0]
    for others in ({}, {slow: max(1, settings.lab_mbit // SLOWER)}):
        with Lab(layout.names(), settings.lab_mbit, others) as lab, Tree(layout.racks, 1, lab) as tree:
            root = cold_root(f"{tree.place}/root", DATE)
            random_file(f"{root}/first", MIB)
            _arrivals(tree, root, "first", layout)
            random_file(f"{root}/payload", size_bytes)
            arrivals = _arrivals(tree, root, "payload", layout)
        del arrivals[slow]
        last[bool(others)], middle[bool(others)] = max(arrivals.values()), median(arrivals.values())
    what = (
        f"{settings.lab_mib} MiB to {layout.hosts} hosts at {settings.lab_mbit} Mbit/s, "
        f"one of them at {max(1, settings.lab_mbit // SLOWER)}"
    )
    for name, found in (("last", last), ("middle", middle)):
        yield Figure(
            what=f"{what}: the {name} of its siblings has it", unit="s", measured=samples([found[True]]),
            budget=ALLOWED * found[False],
            yardstick=Yardstick("the same without a slow one", samples([found[False]])),
        )  # fmt: skip


def _arrivals(tree: Tree, root: str, name: str, layout: Layout) -> dict[str, float]:
    """Seconds from the command's start to the program's on each node: that has a copy of the payload by then."""
    began_s = time.time()
    done = tree.run("e", "-l", "-r", root, "-f", f"/{name}", layout.nodes, DATE, "+%s.%N")
    found = {}
    for line in done.output.decode().splitlines():
        if (match := re.match(r"\W*(\d+(?:/\d+)*)\W.*?(\d+\.\d{9})$", line)) is not None:
            found[match[1]] = float(match[2]) - began_s
    if len(found) != layout.hosts:
        raise TreeFailed(f"{layout.hosts} nodes said {done.output[:200]!r}")
    return found
