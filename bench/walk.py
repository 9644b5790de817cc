"""The walk of the original's README for KANE and for KF: seconds of each step, on bare hosts kn1, kn2, ...

    python bench/walk.py [--hosts 80]

The hosts are those of tests/start: each with a network, a root, processes and a name of its own, and sshd and busybox
alone; root only.  Their links are as fast as this machine, and they share its processors.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.figures import machine_of_now, markdown, number
from gproc import native
from tests.start.lab import why_not
from tests.start.walk import Step, Walk, kane_lab


def steps(count: int) -> list[Step]:
    """Raises: AssertionError if a step did not do what it should."""
    numbers = range(1, count + 1)
    taken: list[Step] = []

    def note(step: Step) -> None:
        print(f"{step.locale}: {step.what}: {step.seconds:.2f} s", file=sys.stderr, flush=True)
        taken.append(step)

    with tempfile.TemporaryDirectory(prefix="gproc-bench-walk-") as place, kane_lab(Path(place), numbers) as lab:
        walk = Walk(lab, numbers, note)
        walk.prepare()
        walk.kane()
        walk.kf()
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=80, help="a multiple of 20: each rack's master is its last")
    options = parser.parse_args()
    if options.hosts < 20 or options.hosts % 20:
        parser.error(f"--hosts={options.hosts}: must be a multiple of 20, because each rack's master is its last host")
    if reason := native.why_missing() or why_not():
        parser.error(reason)
    shown = machine_of_now().shown
    rows = [(step.locale, f"`{step.what}`", number(step.seconds)) for step in steps(options.hosts)]
    print(markdown(shown, ("locale", "step", "s"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
