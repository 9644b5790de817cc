"""Trees of real `gproc` processes: a master, rack masters below it, leaves below each.

Every node has a store of its own, and nothing is shared with a user's cluster: keys, cache, socket, stores and
binRoot are in the tree's own temporary directory.  This module does not import gproc: it asks each tree by the command
line of the tree's own revision.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Final, Literal, Protocol, Self

import msgspec

from bench import processes
from bench.checkout import OWN, Checkout
from bench.cleanup import uninterrupted
from bench.processes import CpuTime

JOIN_S: Final = 120.0
"""The time for a whole tree to start: 80 slaves of 0.2 CPU seconds on two busy processors take some 20 s."""

STOP_S: Final = 20.0

ASK_EVERY_S: Final = 0.1
"""The interval of checking whether the tree is complete: each check is a `gproc i`, some 70 ms of processor time."""

WATCH_EVERY_MS: Final = 10
"""How often a command's memory is read: a peak in its last 10 ms may be missed."""

LOOPBACK: Final = "127.0.0.1"

NODE_VARIABLE: Final = "GPROC_BENCH_NODE"

Role = Literal["master", "rack", "leaf"]
Part = Literal["master", "rack", "leaf", "launcher", "job"]


class TreeFailed(Exception):
    """The tree did not start, or a command on it failed: nothing was measured."""


class Site(Protocol):
    """The machines of a tree's nodes, by the nodes' names: `master`, `1`, `1/3`."""

    def address(self, name: str) -> str: ...

    def entry(self, name: str) -> list[str]:
        """The beginning of a command line that runs on that node's machine."""


class Loopback:
    """All nodes are on this machine."""

    def address(self, name: str) -> str:
        return LOOPBACK

    def entry(self, name: str) -> list[str]:
        return []


class Done(msgspec.Struct, frozen=True):
    """A command that has ended.  cpu_s: user and system together; peak_bytes: the peak of its resident memory."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: bytes


class Node(msgspec.Struct, frozen=True):
    """A running master or slave.  started_s: of time.monotonic()."""

    role: Role
    process: subprocess.Popen[bytes]
    log: str
    started_s: float


class Tree:
    """A tree that runs while its context is open.  nodes: by name: `master`, `1`, `1/3`."""

    def __init__(self, racks: int, rack_size: int, site: Site | None = None, checkout: Checkout = OWN) -> None:
        """rack_size: nodes of a rack with its master: the tree has racks * rack_size nodes below the master.

        checkout: the one whose gproc the tree's processes and commands run.
        """
        self.racks = racks
        self.rack_size = rack_size
        self.size = racks * rack_size
        self.nodes: dict[str, Node] = {}
        self.place = ""
        self.environ: dict[str, str] = {}
        self._site = site or Loopback()
        self._checkout = checkout

    def __enter__(self) -> Self:
        self.place = tempfile.mkdtemp(prefix="gproc-bench-")
        self.environ = self._checkout.environment(self.place)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._stop()
            self._kill_others()
            shutil.rmtree(self.place, ignore_errors=True)

    def _stop(self) -> None:
        master = self.nodes.get("master")
        if master is not None:
            master.process.send_signal(signal.SIGINT)
        deadline_s = time.monotonic() + STOP_S
        for node in self.nodes.values():
            try:
                node.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()

    def _kill_others(self) -> None:
        """Kill what is left: a command that ran when we were interrupted, a launcher whose slave was killed."""
        deadline_s = time.monotonic() + STOP_S
        while time.monotonic() < deadline_s:
            left = list(processes.with_variable(f"GPROC_HOME={self.place}/home"))
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(ASK_EVERY_S)

    @property
    def socket(self) -> str:
        return f"{self.place}/g"

    def run(self, *arguments: str, status: int = 0, keep: bool = True) -> Done:
        """Run `gproc` with these arguments on this tree, to its end.  keep: keep its output; else it goes to /dev/null.

        Raises: TreeFailed if it ends with another status.
        """
        command = [*self._site.entry("master"), *gproc(), arguments[0], "--socket", self.socket, *arguments[1:]]
        output_path, errors_path = (f"{self.place}/out", f"{self.place}/err")
        with open(output_path if keep else os.devnull, "wb") as output, open(errors_path, "wb") as errors:
            began_s = time.perf_counter()
            process = subprocess.Popen(
                command, env=self.environ, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=errors
            )
            done = _watched(process.pid, began_s)
        process.returncode = done[0]
        if process.returncode != status:
            raise TreeFailed(f"gproc {' '.join(arguments)} ended with {process.returncode}: {_tail(errors_path)}")
        kept = b""
        if keep:
            with open(output_path, "rb") as file:
                kept = file.read()
        return msgspec.structs.replace(done[1], output=kept)

    def processes(self) -> Iterator[tuple[str, Part, int]]:
        """The tree's processes as (node, part, pid), without running jobs."""
        own = {node.process.pid: name for name, node in self.nodes.items()}
        for pid in processes.with_variable(f"GPROC_HOME={self.environ['GPROC_HOME']}"):
            name = own.get(pid)
            if name is not None:
                yield name, self.nodes[name].role, pid
            elif (of := processes.variable(pid, NODE_VARIABLE)) is not None:
                yield of, "launcher", pid

    def cpu_times(self) -> dict[Part, CpuTime]:
        """The CPU time of each kind of process so far; jobs are children of launchers."""
        total: dict[Part, CpuTime] = {}
        for _, part, pid in self.processes():
            total[part] = total.get(part, CpuTime(0, 0)) + processes.cpu_time(pid)
        return total

    # Starting

    def _start(self) -> None:
        self.start_master()
        port = master_port(self)
        for id in range(1, self.racks + 1):
            self.start_slave(str(id), f"{self._site.address('master')}:{port}")
        self.await_nodes(self.racks)
        for rack, rack_port in self._rack_ports().items():
            for number in range(1, self.rack_size):
                self.start_slave(f"{rack}/{number}", f"{self._site.address(rack)}:{rack_port}")
        self.await_nodes(self.size)

    def start_master(self, *options: str) -> None:
        """Start the master, and wait until it answers."""
        arguments = ["m", "--socket", self.socket, "--address", self._site.address("master"), *options]
        self._start_node("master", "master", arguments)
        self.await_nodes(0)

    def start_slave(self, name: str, parent: str) -> Node:
        """Start one more slave without waiting for it.  parent: HOST:PORT."""
        role: Role = "leaf" if "/" in name else "rack"
        place = [f"--address={self._site.address(name)}"] if role == "rack" else []
        return self._start_node(
            name, role, ["s", "--parent", parent, "--id", name.rpartition("/")[2], *place, f"-binRoot={self.place}/x"]
        )

    def _start_node(self, name: str, role: Role, arguments: list[str]) -> Node:
        log = f"{self.place}/{name.replace('/', '.')}.log"
        store = f"{self.place}/store/{name.replace('/', '.')}"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [*self._site.entry(name), *gproc(), *arguments, "--cmd-port", "0", "--store", store],
                env=self.environ | {NODE_VARIABLE: name}, cwd="/", stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=file,
            )  # fmt: skip
        node = self.nodes[name] = Node(role, process, log, time.monotonic())
        return node

    def await_nodes(self, count: int) -> None:
        """Wait until that many nodes are below the master."""
        deadline_s = time.monotonic() + JOIN_S
        while True:
            ended = [name for name, node in self.nodes.items() if node.process.poll() is not None]
            if ended:
                raise TreeFailed(f"{ended[0]} has ended: {_tail(self.nodes[ended[0]].log)}")
            try:
                if len(self._addresses()) >= count:
                    return
            except TreeFailed as error:
                if self.nodes.keys() - {"master"}:
                    raise TreeFailed(f"the master is gone: {error}") from error
            if time.monotonic() > deadline_s:
                raise TreeFailed(f"after {JOIN_S:.0f} s fewer than {count} nodes have joined")
            time.sleep(ASK_EVERY_S)

    def _rack_ports(self) -> dict[str, str]:
        return {name: address.rpartition(":")[2] for name, address in self._addresses().items() if "/" not in name}

    def _addresses(self) -> dict[str, str]:
        """HOST:PORT of every node that is up, by name.  Raises: TreeFailed if the master does not answer."""
        answer = self.run("i", "--json").output
        try:
            rows = msgspec.json.decode(answer, type=_Info).nodes
            return {row.path: row.address for row in rows if row.state == "up"}
        except msgspec.DecodeError as error:
            raise TreeFailed(f"`gproc i --json` of {self._checkout.name} has an unknown form: {error}") from error


class _Row(msgspec.Struct):
    """A node in the output of `gproc i --json`; `path` is for example `1/3`."""

    path: str
    address: str
    state: str = "up"


class _Info(msgspec.Struct):
    nodes: list[_Row]


def cpu_since(tree: Tree, before: dict[Part, CpuTime], runs: list[Done]) -> dict[str, float]:
    """CPU milliseconds by kind of process, since `before`, of the tree and of the clients of these runs.

    A job is an init and the program itself: children of a launcher that have ended.
    """
    used = {part: time - before[part] for part, time in tree.cpu_times().items() if part in before}
    shares: dict[str, float] = {part: time.own for part, time in used.items()}
    shares["job"] = sum(time.children for time in used.values())
    shares["client"] = sum(done.cpu_s for done in runs)
    return {part: seconds * 1000 for part, seconds in shares.items()}


def cpu_note(tree: Tree, before: dict[Part, CpuTime], runs: list[Done]) -> str:
    """CPU milliseconds of one run, by kind of process."""
    each = {part: ms / len(runs) for part, ms in cpu_since(tree, before, runs).items()}
    named = ", ".join(f"{part} {ms:.0f}" for part, ms in sorted(each.items(), key=lambda item: -item[1]))
    return f"CPU ms of one run: {sum(each.values()):.0f}: {named}"


def gproc() -> list[str]:
    return [sys.executable, "-m", "gproc"]


def _watched(pid: int, began_s: float) -> tuple[int, Done]:
    """Wait for a child process, and watch its memory.  Returns its exit code, and what it used."""
    peak = 0
    handle = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        while not poller.poll(WATCH_EVERY_MS):
            try:
                peak = max(peak, processes.peak_bytes(pid))
            except ProcessLookupError:
                break
    finally:
        os.close(handle)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - began_s
    return os.waitstatus_to_exitcode(status), Done(wall_s, usage.ru_utime + usage.ru_stime, peak, b"")


def master_port(tree: Tree) -> str:
    """The master's port, from its log line "master on NAME, port N, commands at PATH"."""
    with open(tree.nodes["master"].log) as file:
        return file.read().partition(", port ")[2].partition(",")[0]


def _tail(path: str) -> str:
    with open(path, errors="replace") as file:
        return " / ".join(file.read().splitlines()[-3:])
