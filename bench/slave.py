"""One slave, idle: its memory and its launcher's, and how long it takes to join.  One node: what `gproc e` costs."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator

from bench import processes, yardsticks
from bench.figures import MB, Figure, Settings, Yardstick, samples
from bench.payload import DATE
from bench.tree import NODE_VARIABLE, Tree, TreeFailed, gproc

LEAF = "=1/1"

JOINED = b" joined "
"""In the slave's log line when its parent has taken it: "HH:MM:SS joined HOST:PORT as node N"."""

JOIN_S = 30.0


def measure(settings: Settings) -> Iterator[Figure]:
    # Not the first one of a machine, which here, beside the cluster's CA, makes the machine's certificate.
    with Tree(1, 2) as tree:
        for _ in range(2):
            tree.run("e", LEAF, DATE)
        memory = {part: processes.memory(pid) for name, part, pid in tree.processes() if name == LEAF[1:]}
        slave, launcher = memory["leaf"], memory["launcher"]
        yield Figure(
            what="slave, resident memory after its first job", unit="MB", measured=samples([slave.resident / MB]),
            budget=25, note=f"its own share of what it has in common with others: {slave.proportional / MB:.1f} MB",
        )  # fmt: skip
        yield Figure(
            what="its launcher, resident memory", unit="MB", measured=samples([launcher.resident / MB]),
            note=f"its own share: {launcher.proportional / MB:.1f} MB",
        )  # fmt: skip

        python = Yardstick("python -c pass", samples([yardsticks.bare_python() for _ in range(settings.runs)]))
        joins = [_join(tree, 100 + run) for run in range(settings.runs)]
        yield Figure(
            what="slave, from its start to joined", unit="s", budget=0.1, yardstick=python,
            measured=samples([wall_s for wall_s, _ in joins]),
            note=f"CPU until then: {samples([cpu_s for _, cpu_s in joins]).shown('s')}",
        )  # fmt: skip

        overhead = []
        natively = []
        cpu = []
        for _ in range(settings.runs):
            done = tree.run("e", LEAF, DATE)
            native = yardsticks.seconds_of([DATE])
            overhead.append(done.wall_s - native)
            natively.append(native)
            cpu.append(done.cpu_s)
        yield Figure(
            what="gproc e with one node, above the program's own time", unit="s", measured=samples(overhead),
            budget=0.12, yardstick=python,
            note=f"CPU of the client: {samples(cpu).shown('s')}; the program alone: {samples(natively).shown('s')}",
        )  # fmt: skip


def _join(tree: Tree, id: int) -> tuple[float, float]:
    """Start one slave more below the master, and end it again: its wall and its CPU time until it had joined."""
    parent = tree.nodes["1"].process.args
    assert isinstance(parent, list)
    address = parent[parent.index("--parent") + 1]
    command = [*gproc(), "s", "--parent", str(address), "--id", str(id), "--cmd-port", "0",
               "--store", f"{tree.place}/store/{id}", f"-binRoot={tree.place}/x"]  # fmt: skip
    began_s = time.perf_counter()
    slave = subprocess.Popen(
        command, env=tree.environ | {NODE_VARIABLE: str(id)}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert slave.stderr is not None
    try:
        said = b""
        poller = select.poll()
        poller.register(slave.stderr, select.POLLIN)
        while JOINED not in said:
            if not poller.poll(JOIN_S * 1000):
                raise TreeFailed(f"a slave did not join within {JOIN_S:.0f} s")
            more = os.read(slave.stderr.fileno(), 4096)
            if not more:
                raise TreeFailed(f"a slave ended at once: {said.decode(errors='replace')}")
            said += more
        wall_s = time.perf_counter() - began_s
        cpu = processes.cpu_time(slave.pid)
        return wall_s, cpu.own + cpu.children
    finally:
        slave.terminate()
        slave.wait()
        slave.stderr.close()
