"""The cost of a job on its node, in turns, by each checkout's own `bench/spawn.py`, which imports gproc."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from bench.checkout import Checkout
from bench.cleanup import temporary_directory
from bench.figures import Settings
from bench.tree import TreeFailed
from bench.trial import NotHere, Reading, Step, Trial

YARDSTICK: Final = "posix_spawn"


@contextlib.contextmanager
def _steps(checkout: Checkout, settings: Settings) -> Iterator[Sequence[Step]]:
    script = f"{checkout.path}/bench/spawn.py"
    if not os.path.exists(script):
        raise NotHere(f"{checkout.name} has no bench/spawn.py")
    with temporary_directory() as place:

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
    """From what spawn.py prints: a head, then lines of a kind of job and its CPU, above and wall milliseconds.

    Revisions with two kinds of launcher measure each view with both, as `VIEW, native` and `VIEW, python`.  Then VIEW
    alone is the kind that a slave uses, as in revisions that have only one.  Raises: TreeFailed if no line fits.
    """
    kinds: dict[str, tuple[float, float]] = {}
    for line in table.splitlines():
        words = line.rsplit(maxsplit=3)
        with contextlib.suppress(ValueError, IndexError):
            kinds[words[0].strip()] = (float(words[1]), float(words[3]))
    kinds.pop(YARDSTICK, None)
    if not kinds:
        raise TreeFailed("bench/spawn.py prints another table than this comparison reads")
    used = ", native" if any(kind.endswith(", native") for kind in kinds) else ", python"
    found = []
    for kind, (cpu_ms, wall_ms) in kinds.items():
        what = f"one job, {kind.removesuffix(used)}"
        found += [Reading(f"{what}: CPU", "ms", cpu_ms), Reading(what, "ms", wall_ms)]
    return found


TRIAL: Final = Trial(_steps, turns=10, turns_of_a_tree=10)
