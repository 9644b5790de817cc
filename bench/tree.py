"""Trees of real `gproc` processes on this machine: a master, rack masters below it, leaves below each.

Every node has a store of its own, and nothing is shared with a user's cluster: keys, cache, socket, stores and
binRoot lie in the tree's own temporary directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from bench import processes
from bench.processes import CpuTime

JOIN_S: Final = 120.0
"""For a whole tree to come up: 80 slaves of 0.2 CPU seconds on two busy processors take some 20 s."""

STOP_S: Final = 20.0
ASK_EVERY_S: Final = 0.1
WATCH_EVERY_S: Final = 0.01

Role = Literal["master", "rack", "leaf"]


class TreeFailed(Exception):
    """The tree did not come up, or a command on it failed: nothing was measured."""


class Done(msgspec.Struct, frozen=True):
    """A command that ended.  peak_bytes: its own, as last seen; cpu_s: user and system."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: bytes


class Node(msgspec.Struct, frozen=True):
    role: Role
    process: subprocess.Popen[bytes]
    log: str


class Tree:
    """A tree that is up from `with` to its end.

    prefixes: what a node's command begins with, by its name (master, 1, 1/3): ways into another network namespace.
    host: the address that the master listens on, and rack masters by theirs: see `Lab`.
    """

    def __init__(self, racks: int, rack_size: int) -> None:
        """rack_size: the rack master counts; the tree has racks * rack_size nodes."""
        self.racks = racks
        self.rack_size = rack_size
        self.size = racks * rack_size
        self.nodes: dict[str, Node] = {}
        self.place = ""
        self.environ: dict[str, str] = {}

    def __enter__(self) -> Tree:
        self.place = tempfile.mkdtemp(prefix="gproc-bench-")
        self.environ = environment(self.place)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        master = self.nodes.get("master")
        if master is not None:
            master.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_S
        for node in self.nodes.values():
            try:
                node.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def socket(self) -> str:
        return f"{self.place}/g"

    def command(self, *arguments: str) -> list[str]:
        """`gproc` with this tree's master, as on a shell's command line."""
        return [*gproc(), arguments[0], "--socket", self.socket, *arguments[1:]]

    def run(self, *arguments: str, status: int = 0, stdout: int = subprocess.PIPE) -> Done:
        """Run `gproc` to its end.  Raises: TreeFailed where it ends with another status."""
        began_s = time.perf_counter()
        process = subprocess.Popen(
            self.command(*arguments), env=self.environ, cwd="/", stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        output, errors = process.communicate()
        wall_s = time.perf_counter() - began_s
        if process.returncode != status:
            raise TreeFailed(f"{' '.join(arguments)} ended with {process.returncode}: {errors.decode()[-2000:]}")
        return Done(wall_s, 0.0, 0, output)
