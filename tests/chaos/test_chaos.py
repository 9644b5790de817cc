"""Faults by the dozen, drawn from a seed: rack masters and slaves are killed, frozen and started again while jobs run.

After each fault it holds that every node of a job has exactly one end; that what a node said arrived whole, in order
and once, if its program ended by itself; that no program ran twice; and that nothing is left.

    GPROC_FAULTS=500 GPROC_SEED=7 .venv/bin/python -m pytest -n 0 -s tests/chaos
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Slave

FAULTS: Final = int(os.environ.get("GPROC_FAULTS", "5"))
SEED: Final = int(os.environ.get("GPROC_SEED", "1"))
RACKS: Final = ("1", "2")
LEAVES: Final = ("1/1", "1/2", "2/1")
LINES: Final = 2_500
"""Fewer than a pipe holds: the program reads them at its end."""
INPUT: Final = b"".join(b"line %d of the input\n" % number for number in range(LINES))

SCRIPT: Final = """
echo "$GPROC_NODE" >> RUNS
echo "$GPROC_NODE begun"
i=0
while [ $i -lt 30 ]; do
    seq -f "$GPROC_NODE $i %.0f" 1 2000
    i=$((i + 1))
    sleep 0.05
done
echo "$GPROC_NODE $(sha256sum)"
"""


def said_by(node: str) -> list[str]:
    lines = [f"{node} begun"]
    lines += [f"{node} {number} {count}" for number in range(30) for count in range(1, 2001)]
    return [*lines, f"{node} {hashlib.sha256(INPUT).hexdigest()}  -"]


class Chaos:
    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.slaves: dict[str, Slave] = {}
        self.runs = cluster.work / "runs"
        for path in (*RACKS, *LEAVES):
            self.start(path)

    def start(self, path: str, port: int = 0) -> None:
        above, _, number = path.rpartition("/")
        parent = self.slaves[above] if above else None
        since = self.cluster.master.mark()
        slave = self.cluster.launch_slave(f"--id={number}", parent=parent, port=port)
        slave.path, slave.port = path, port
        self.slaves[path] = slave
        self.cluster.master.says(rf"arrived: {path} ", since=since)
        if not port:
            slave.port = int(slave.says(r"takes children on port (\d+)").group(1))

    def fault(self) -> str:
        """One job with one fault in it.  Returns what was done to whom."""
        victims = self.random.sample([*RACKS, *LEAVES], self.random.choice((1, 1, 2)))
        kind = self.random.choice(("killed", "frozen", "frozen for a moment"))
        self.runs.write_text("")
        since = self.cluster.master.mark()
        job = self.cluster.begin("e", "-localbin", ",".join(f"={leaf}" for leaf in LEAVES), "/bin/sh", "-c",
                                 SCRIPT.replace("RUNS", str(self.runs)), stdin=-1)  # fmt: skip
        assert job.stdin is not None
        self.cluster.master.says(r"job \d+: uid", since=since)
        half = self.random.randrange(len(INPUT))
        job.stdin.write(INPUT[:half])
        since = self.cluster.master.mark()
        for path in victims:
            self.slaves[path].kill(signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
        if kind == "frozen":
            for path in victims:
                self.cluster.master.says(rf"cannot reach {path} ", since=since)
        if kind != "killed":
            for path in victims:
                self.slaves[path].kill(signal.SIGCONT)
        out, errors = job.communicate(INPUT[half:], timeout=2 * PATIENCE_S)
        self.check(out.decode().splitlines(), errors.decode(), set(victims) if kind == "killed" else set())
        self.restore(victims if kind == "killed" else [], since)
        return f"{kind}: {', '.join(victims)}"

    def check(self, lines: list[str], errors: str, dead: set[str]) -> None:
        by_node: dict[str, list[str]] = {leaf: [] for leaf in LEAVES}
        for line in lines:
            node = line.partition(" ")[0]
            if node in by_node:
                by_node[node].append(line)
            else:  # the last line of a node that was killed may be cut anywhere
                assert any(leaf.startswith(line) for leaf in dead), line
        for leaf, said in by_node.items():
            expected = said_by(leaf)
            if leaf not in dead:
                assert said == expected, (leaf, len(said), len(expected), errors)
            else:
                assert "\n".join(expected).startswith("\n".join(said)), (leaf, len(said))
        ran = self.runs.read_text().split()
        assert len(ran) == len(set(ran)), f"it ran twice: {ran}"
        lost = re.findall(r"^gproc: (\S+): lost", errors, re.MULTILINE)
        assert bool(lost) == bool(dead & set(LEAVES)), errors

    def restore(self, victims: list[str], since: int) -> None:
        """Start again what was killed, racks first, and wait until the whole tree is there."""
        for path in sorted(victims):
            port = self.slaves[path].port
            self.slaves[path].wait()
            self.cluster.forget(self.slaves[path])
            self.start(path, port)
        until_s = time.monotonic() + PATIENCE_S
        while (states := set(self.cluster.states())) != {*RACKS, *LEAVES}:
            assert time.monotonic() < until_s, states


@pytest.mark.slow
def test_whatever_dies_every_node_ends_once_and_what_it_said_is_whole(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--orphan-timeout=8")
    try:
        chaos = Chaos(cluster, SEED)
        for number in range(FAULTS):
            sys.stdout.write(f"fault {number + 1} of seed {SEED}: {chaos.fault()}\n")
        cluster.nothing_runs()
    except BaseException:
        for daemon in (cluster.master, *cluster.slaves):
            sys.stdout.write(daemon.log)
            daemon.process.kill()
        raise
    cluster.stop()
