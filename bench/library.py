"""The library: jobs one after the other over one connection, and many at once, beside `subprocess.run`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Final

import gproc
from bench.figures import Figure, Settings, Yardstick, samples
from bench.tree import Tree

TRUE: Final = "/bin/true"
JOBS: Final = 1000
AT_ONCE: Final = 200
ROUNDS: Final = 5


def measure(settings: Settings) -> Iterator[Figure]:
    jobs = JOBS if settings.runs > 2 else 20
    at_once = AT_ONCE if settings.runs > 2 else 10
    with Tree(1, 1) as tree:
        os.environ["XDG_CACHE_HOME"] = tree.place
        with gproc.connect(tree.socket) as cluster:
            cluster.run(".", [TRUE], check=True)
            ours = _per_job_ms(jobs, lambda: cluster.run(".", [TRUE], check=True))
            native = _per_job_ms(jobs, lambda: subprocess.run([TRUE], check=True))
            yield Figure(
                what=f"{jobs} jobs {TRUE} one after the other on one node, one connection, per job", unit="ms",
                measured=samples(ours), budget=8, yardstick=Yardstick("subprocess.run", samples(native)),
            )  # fmt: skip
            many = []
            for _ in range(ROUNDS):
                begun_s = time.perf_counter()
                begun = [cluster.popen(".", [TRUE]) for _ in range(at_once)]
                if any(job.wait() for job in begun):
                    raise RuntimeError("a job failed")
                many.append((time.perf_counter() - begun_s) * 1000 / at_once)
            yield Figure(what=f"{at_once} jobs {TRUE} at once, per job", unit="ms", measured=samples(many))


def _per_job_ms(jobs: int, run: Callable[[], object]) -> list[float]:
    """The mean time of a job, of so many in each of a few rounds."""
    found = []
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        for _ in range(jobs // ROUNDS):
            run()
        found.append((time.perf_counter() - begun_s) * 1000 / (jobs // ROUNDS))
    return found
