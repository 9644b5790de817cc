"""The cost of a job on its node, in turns, by each checkout's own `bench/spawn.py`, which imports gproc."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from bench.checkout import Checkout
from bench.figures import Settings
from bench.tree import TreeFailed
from bench.trial import NotHere, Reading, Step, Trial

YARDSTICK: Final = "posix_spawn"


@contextlib.contextmanager
def _steps(checkout: Checkout, settings: Settings) -> Iterator[Sequence[Step]]:
    script = f"{checkout.path}/bench/spawn.py"
    if not os.path.exists(script):
        raise NotHere(f"{checkout.name} has no bench/spawn.py")
    with tempfile.TemporaryDirectory(prefix="gproc-bench-") as place:

        def spawn() -> list[Reading]:
            done = subprocess.run(
                [sys.executable, script, "--jobs", str(settings.spawn_jobs), "--rounds", "1"], cwd="/",
                env=checkout.environment(place), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
                raise (NotHere if reason.startswith("needs ") else TreeFailed)(f"bench/spawn.py: {reason}")
            return readings(done.stdout)

        yield (spawn,)


def readings(table: str) -> list[Reading]:
    """The readings in the output of spawn.py: a head, then lines with a kind of job and its CPU, above and wall
    milliseconds.

    Raises: TreeFailed if there is no such line.
    """
    found = []
    for line in table.splitlines():
        words = line.rsplit(maxsplit=3)
        with contextlib.suppress(ValueError, IndexError):
            kind, cpu_ms, wall_ms = words[0].strip(), float(words[1]), float(words[3])
            if kind != YARDSTICK:
                found.append(Reading(f"one job, {kind}: CPU", "ms", cpu_ms))
                found.append(Reading(f"one job, {kind}", "ms", wall_ms))
    if not found:
        raise TreeFailed("bench/spawn.py prints another table than this comparison reads")
    return found


TRIAL: Final = Trial(_steps, turns=10, turns_of_a_tree=10)
