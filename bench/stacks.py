"""`gproc stacks` of a job on all nodes of a tree: how long until it has said where all of its processes are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from bench.figures import Figure, Settings, samples
from bench.tree import Done, Tree

BUDGET_S: Final = 1.0


def measure(settings: Settings) -> Iterator[Figure]:
    with Tree(settings.racks, settings.rack_size) as tree:
        job = tree.run("e", "-localbin", "-d", "./.", "/bin/sh", "-c", "sleep 1000; :").output.decode().strip()
        while tree.run("stacks", "--json", job).output.count(b'"sleep"') == 0:
            time.sleep(0.1)
        done = [_shown(tree, job) for _ in range(settings.runs)]
        tree.run("kill", "-s", "KILL", job)
        yield Figure(
            what=f"`gproc stacks` of a job with {2 * tree.size} processes on {tree.size} nodes", unit="s",
            measured=samples([one.wall_s for one in done]), budget=BUDGET_S if tree.size == 80 else None,
            note=f"client CPU ms: {1000 * min(one.cpu_s for one in done):.0f}",
        )  # fmt: skip


def _shown(tree: Tree, job: str) -> Done:
    return tree.run("stacks", job)
