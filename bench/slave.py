"""An idle slave's memory, its launcher's, and the time until it joins; the cost of `gproc e` with one node."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from bench import processes, yardsticks
from bench.checkout import Checkout
from bench.figures import MB, Figure, Settings, Yardstick, samples
from bench.payload import DATE
from bench.tree import NODE_VARIABLE, Tree, TreeFailed, gproc
from bench.trial import Reading, Step, Trial

LEAF: Final = "=1/1"
FIRST_ID: Final = 100
"""The first id of the slaves that are started here; those of the tree have smaller ones."""

JOINED: Final = b" joined "
"""In the slave's log line after its parent has accepted it: "HH:MM:SS joined HOST:PORT as node N"."""

JOIN_S: Final = 30.0


def measure(settings: Settings) -> Iterator[Figure]:
    # The measured slave is not the first one: on the machine of the CA, that one makes the machine's certificate.
    with Tree(1, 2) as tree:
        for _ in range(2):
            tree.run("e", LEAF, DATE)
        memory = {part: processes.memory(pid) for name, part, pid in tree.processes() if name == LEAF[1:]}
        slave = memory["leaf"]
        yield Figure(
            what="slave, resident memory after its first job", unit="MB", measured=samples([slave.resident / MB]),
            budget=25, note=f"proportional size, which divides shared pages: {slave.proportional / MB:.1f} MB",
        )  # fmt: skip
        if (launcher := memory.get("launcher")) is not None:  # there is none if the static helper starts jobs
            yield Figure(
                what="its launcher, resident memory", unit="MB", measured=samples([launcher.resident / MB]),
                note=f"proportional size: {launcher.proportional / MB:.1f} MB",
            )  # fmt: skip

        python = Yardstick("python -c pass", samples([yardsticks.bare_python() for _ in range(settings.runs)]))
        joins = []
        for run in range(settings.runs):
            with _one_more(tree, str(FIRST_ID + run)) as joined:
                joins.append(joined)
        yield Figure(
            what="slave, from its start to joined", unit="s", budget=0.1, yardstick=python,
            measured=samples([joined.wall_s for joined in joins]),
            note=f"CPU until then: {samples([joined.cpu_s for joined in joins]).shown('s')}",
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


class _Joined(msgspec.Struct, frozen=True):
    """A slave that has joined.  wall_s, cpu_s: from its start until it had joined."""

    pid: int
    wall_s: float
    cpu_s: float


@contextlib.contextmanager
def _one_more(tree: Tree, id: str) -> Iterator[_Joined]:
    """One more slave below the master, while the context is open."""
    parent = tree.nodes["1"].process.args
    assert isinstance(parent, list)
    address = parent[parent.index("--parent") + 1]
    command = [*gproc(), "s", "--parent", str(address), "--id", id, "--cmd-port", "0",
               "--store", f"{tree.place}/store/{id}", f"-binRoot={tree.place}/x"]  # fmt: skip
    began_s = time.perf_counter()
    slave = subprocess.Popen(
        command, env=tree.environ | {NODE_VARIABLE: id}, cwd="/", stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert slave.stderr is not None
    try:
        _await_joined(slave.stderr.fileno())
        wall_s = time.perf_counter() - began_s
        cpu = processes.cpu_time(slave.pid)
        yield _Joined(slave.pid, wall_s, cpu.own + cpu.children)
    finally:
        slave.terminate()
        slave.wait()
        slave.stderr.close()


def _await_joined(log: int) -> None:
    """Read a slave's log until it says that it has joined.  Raises: TreeFailed."""
    logged = b""
    poller = select.poll()
    poller.register(log, select.POLLIN)
    while JOINED not in logged:
        if not poller.poll(JOIN_S * 1000):
            raise TreeFailed(f"a slave did not join within {JOIN_S:.0f} s")
        more = os.read(log, 4096)
        if not more:
            raise TreeFailed(f"a slave ended at once: {logged.decode(errors='replace')}")
        logged += more


@contextlib.contextmanager
def _steps(checkout: Checkout, _settings: Settings) -> Iterator[Sequence[Step]]:
    with Tree(1, 2, checkout=checkout) as tree:
        for _ in range(2):
            tree.run("e", LEAF, DATE)
        ids = itertools.count(FIRST_ID)
        with _one_more(tree, str(next(ids))):  # compiles modules that only a slave without certificate to make imports
            pass

        def start() -> list[Reading]:
            name = str(next(ids))
            with _one_more(tree, name) as slave:
                for _ in range(2):
                    tree.run("e", f"={name}", DATE)
                own = processes.memory(slave.pid)
                # Its launcher, if it has one: with the static helper, it has none.
                others = [processes.memory(pid) for of, _, pid in tree.processes() if of == name and pid != slave.pid]
            together = sum(memory.proportional for memory in (own, *others))
            return [
                Reading("slave, from its start to joined", "s", slave.wall_s),
                Reading("slave, from its start to joined: its CPU", "ms", slave.cpu_s * 1000),
                Reading("slave, resident memory after two jobs", "MB", own.resident / MB),
                Reading("slave, proportional memory after two jobs", "MB", own.proportional / MB),
                *(Reading("its launcher, resident memory", "MB", other.resident / MB) for other in others),
                Reading("slave and its launcher, if it has one, proportional memory", "MB", together / MB),
            ]

        def job() -> list[Reading]:
            done = tree.run("e", LEAF, DATE)
            return [
                Reading("gproc e with one node", "s", done.wall_s),
                Reading("gproc e with one node: CPU of the client", "ms", done.cpu_s * 1000),
                Reading("gproc e with one node: peak memory of the client", "MB", done.peak_bytes / MB),
            ]

        yield start, job


TRIAL: Final = Trial(_steps, turns=20, turns_of_a_tree=5)
