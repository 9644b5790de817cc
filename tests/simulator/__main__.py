"""`python -m tests.simulator --faults 1000000 --seed N`: simulated faults, until something is wrong."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulator.facts import Switches, Violation
from tests.simulator.faults import simulate
from tests.simulator.programs import Saying
from tests.simulator.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--faults", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="16 nodes instead of 100")
    parser.add_argument("--keeps", action="store_true", help="the master crashes too, and jobs have an input")
    parser.add_argument("--turns", action="store_true", help="half of the jobs run on a few nodes at a time")
    parser.add_argument("--fills", action="store_true", help="the disk of the master is full at times")
    parser.add_argument("--ends", action="store_true", help="the master ends cleanly at times, and the tree with it")
    parser.add_argument("--alike", action="store_true", help="all ranks of most jobs say the same")
    parser.add_argument("--maps", action="store_true", help="half of the jobs have a list of tasks, as of gproc map")
    parser.add_argument("--refuses", action="store_true", help="a full disk takes no records, input and lists either")
    parser.add_argument("--clocks", action="store_true", help="each machine has its own clock, and dates jump")
    asked = parser.parse_args()
    Saying.is_alike = asked.alike
    begun_s, done, simulated_s = time.process_time(), 0, 0.0

    def tell(world: World) -> None:
        nonlocal done, simulated_s
        done += world.faults
        simulated_s += world.loop.now_s
        took_s = time.process_time() - begun_s
        sys.stderr.write(f"\r{done} faults, {done / took_s:.0f}/s, {simulated_s:.0f} simulated seconds")

    try:
        switches = {name: getattr(asked, name) for name in Switches._fields}
        simulate(asked.seed, asked.faults, tell=tell, small=asked.small, **switches)
    except Violation as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    sys.stdout.write(f"\nseed {asked.seed}: {done} faults, nothing was wrong\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
