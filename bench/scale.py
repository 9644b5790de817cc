"""Trees of up to 5,000 nodes on one machine: a command on all of them, `gproc i`, and racks that die.

The master, the clients and the rack masters below the master are processes of their own.  All other slaves live in
processes of `bench.crowd`, one for each rack.  The yardstick of a larger tree is the next smaller one, times n log n.
"""

from __future__ import annotations

import itertools
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from bench import processes
from bench.cleanup import uninterrupted
from bench.figures import Figure, Samples, Settings, Yardstick, samples
from bench.tree import STOP_S, Tree, TreeFailed, master_port
from gproc.nodespec import NodeSpec, Path

ALL: Final = "././."
ONE_OF_EACH_STORE: Final = "./1"
"""The rack masters, and one node of each other process: they fetch the bundle, and all others find it."""

TRUE: Final = "/bin/true"
LINK_TIMEOUT_S: Final = 8.0
"""While jobs run, each link has 8 beats in this time.  With the usual 2 s, the beats of 5,000 nodes alone would need
more than this machine's two processors; each machine of a cluster sends its own."""

PATIENCE_S: Final = 900.0
STABLE_S: Final = 0.3
"""A count that stays the same for so long is not read between two lines of the log."""
KB: Final = 1e3
GONE: Final = ("cannot reach", "left:")
CAME: Final = re.compile(r"arrived: |[\d/]+ \(\S+\) is reached |\d+ nodes are reached ")
ONE: Final = re.compile(r"(?:cannot reach |left: |arrived: )?([\d/]+) \(")
"""The node that a line of the master's log begins with."""
SEVERAL: Final = re.compile(r"=\d[\d/,=-]*")


class CrowdedTree(Tree):
    """A tree of three levels: `fanout` rack masters, `fanout` nodes below each, and `fanout` below each of those."""

    def __init__(self, nodes: int) -> None:
        """nodes: at least so many."""
        self.fanout = next(k for k in range(1, nodes + 1) if k + k**2 + k**3 >= nodes)
        super().__init__(racks=self.fanout, rack_size=1 + self.fanout + self.fanout**2)
        self.crowds: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[int, int] = {}
        self._port = 0
        self._read_bytes = 0
        self._reached: set[Path] = set()
        self._places = [path for level in (1, 2, 3) for path in itertools.product(self.all_racks, repeat=level)]

    def _start(self) -> None:
        self.start_master(f"--link-timeout={LINK_TIMEOUT_S:g}")
        self._port = int(master_port(self))
        self.began_s = time.monotonic()
        self.empty_bytes = processes.memory(self.master).resident
        for rack in self.all_racks:
            self.start_rack(rack)
        self.await_reached(self.racks)
        for rack in self.all_racks:
            arguments = ("--parent-port", self._ports[rack], "--ids", f"1-{self.fanout}", "--children", self.fanout)
            self._start_crowd(f"below {rack}", *arguments)
        self.complete_s = self.await_reached(self.size)

    @property
    def all_racks(self) -> range:
        return range(1, self.fanout + 1)

    @property
    def master(self) -> int:
        """Its process."""
        return self.nodes["master"].process.pid

    def start_rack(self, rack: int) -> None:
        """Start a rack master.  It takes the port of the one that had its place before."""
        port = self._ports.get(rack, 0)
        crowd = self._start_crowd(
            str(rack), "--parent-port", self._port, "--port", port, "--ids", f"{rack}-{rack}", "--children", 0
        )
        assert crowd.stdout is not None
        self._ports[rack] = int(crowd.stdout.readline())

    def kill_rack(self, rack: int) -> None:
        self.crowds[str(rack)].kill()
        self.crowds.pop(str(rack)).wait()

    def _start_crowd(self, name: str, *arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bench.crowd", f"--link-timeout={LINK_TIMEOUT_S}"]
        command += [f"--store={self.place}/store of {name}", *map(str, arguments)]
        with open(f"{self.place}/{name}.log", "wb") as log:
            self.crowds[name] = subprocess.Popen(
                command, env=self.environ, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        return self.crowds[name]

    def await_reached(self, count: int) -> float:
        """Wait until the master has said in its log that so many nodes are reached, and it stays so.

        Returns: since when, of time.monotonic().  Raises: TreeFailed.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        since_s = None
        while since_s is None or time.monotonic() < since_s + STABLE_S:
            reached = self.reached()
            if reached != count:
                since_s = None
            elif since_s is None:
                since_s = time.monotonic()
            if time.monotonic() > deadline_s:
                raise TreeFailed(f"after {PATIENCE_S:.0f} s {reached} nodes are reached, not {count}")
            time.sleep(0.02)
        return since_s

    def reached(self) -> int:
        """The nodes to which a way leads, by the master's log."""
        with open(self.nodes["master"].log, "rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(text)
        for line in text.decode().splitlines():
            told = line.split(" ", 2)[-1]
            if told.startswith(GONE):
                self._reached -= self._named(told)
            elif CAME.match(told):
                self._reached |= self._named(told)
        return len(self._reached)

    def _named(self, told: str) -> set[Path]:
        """The nodes that a line is about."""
        one, several = ONE.match(told), SEVERAL.search(told)
        found = set() if one is None else {tuple(map(int, one[1].split("/")))}
        if several is not None:
            spec = NodeSpec.parse(several[0].rstrip(",-"))
            found |= {place for place in self._places if spec.selects(place)}
        return found

    def _stop(self) -> None:
        super()._stop()
        with uninterrupted():
            for crowd in self.crowds.values():
                crowd.send_signal(signal.SIGKILL)
                crowd.wait(STOP_S)


class Costs:
    """The figures of one tree: each quantity, with its unit, and what it was."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.found: dict[tuple[str, str], list[float]] = {}

    def add(self, what: str, unit: str, value: float) -> None:
        self.found.setdefault((what, unit), []).append(value)


BUDGETS: Final = {
    ("the master's CPU of `e`, for each node", "ms"): 1.0,
    ("the master's memory for each node, after jobs", "KB"): 20.0,
}


def measure(settings: Settings) -> Iterator[Figure]:
    smaller: Costs | None = None
    for nodes in settings.scale_nodes:
        costs = _measured(nodes, settings.runs)
        yield from _figures(costs, smaller)
        smaller = costs


def _figures(costs: Costs, smaller: Costs | None) -> Iterator[Figure]:
    for (what, unit), found in costs.found.items():
        yardstick = None
        if smaller is not None and "each node" not in what:
            growth = costs.nodes * math.log(costs.nodes) / (smaller.nodes * math.log(smaller.nodes))
            before = Samples(tuple(value * growth for value in smaller.found[what, unit]))
            yardstick = Yardstick(f"{smaller.nodes} nodes, times n log n", before)
        yield Figure(
            what=f"{costs.nodes} nodes: {what}", unit=unit, measured=samples(found), yardstick=yardstick,
            budget=BUDGETS.get((what, unit)),
        )  # fmt: skip


def _measured(nodes: int, runs: int) -> Costs:
    with CrowdedTree(nodes) as tree:
        costs = Costs(tree.size)
        costs.add("all have joined", "s", tree.complete_s - tree.began_s)
        costs.add("the master's memory for each node, idle", "KB", _memory_kb(tree))
        tree.run("e", ONE_OF_EACH_STORE, TRUE)
        for _ in range(runs):
            _timed(tree, costs, "e", lambda: tree.run("e", ALL, TRUE).wall_s)
        costs.add("the master's memory for each node, after jobs", "KB", _memory_kb(tree))
        for _ in range(runs):
            _timed(tree, costs, "i", lambda: tree.run("i").wall_s)
        half = (tree.fanout + 1) // 2
        for rack in tree.all_racks[: min(runs, half)]:  # the nodes of one that is back stay with the master for a while
            _lose(tree, costs, "a rack master", [rack])
        _lose(tree, costs, "half of the rack masters", list(tree.all_racks[-half:]))
        return costs


def _timed(tree: CrowdedTree, costs: Costs, mode: str, run: Callable[[], float]) -> None:
    before = processes.cpu_time(tree.master)
    costs.add(f"`{mode}` on all", "s", run())
    used = processes.cpu_time(tree.master) - before
    costs.add(f"the master's CPU of `{mode}`, for each node", "ms", used.own * 1000 / tree.size)


def _memory_kb(tree: CrowdedTree) -> float:
    return (processes.memory(tree.master).resident - tree.empty_bytes) / KB / tree.size


def _lose(tree: CrowdedTree, costs: Costs, who: str, racks: list[int]) -> None:
    """Kill these rack masters, and start them again."""
    began_s = time.monotonic()
    for rack in racks:
        tree.kill_rack(rack)
    since_s = tree.await_reached(tree.size - len(racks))
    costs.add(f"{who} killed: all others have a way again", "s", since_s - began_s)
    began_s = time.monotonic()
    for rack in racks:
        tree.start_rack(rack)
    costs.add(f"{who} back", "s", tree.await_reached(tree.size) - began_s)


