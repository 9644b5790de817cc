"""A tree on these machines: what is started where, what the master says and when, and whether all are back."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import gproc
from tests.chaos.machines import FRONT, Machines, child_pids
from tests.patience import PATIENCE_S
from tests.system.cluster import Daemon

LEASE_S: Final = 16
PORT: Final = 6666
ASK_EVERY_S: Final = 0.2
MEBIBYTE: Final = 1 << 20


def is_below(path: str, above: str) -> bool:
    """Whether a place is this one or below it."""
    return f"{path}/".startswith(f"{above}/")


class Resident(Daemon):
    """A daemon on another machine, behind nsenter(1)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        super().__init__(argv, env, cwd)
        self._inner = 0

    @property
    def inner(self) -> int:
        """The daemon's pid, as numbered here."""
        while not self._inner:
            with contextlib.suppress(ValueError, FileNotFoundError):  # nsenter has not forked it yet
                (self._inner,) = child_pids(self.pid)
            assert self.process.poll() is None, self.log
        return self._inner

    def kill(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.inner, signum)
        if signum == signal.SIGCONT:
            self.process.send_signal(signum)  # nsenter stops itself when its child is stopped

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.inner}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.inner}/fd"))


class ChaosCluster:
    """A master at the front, and a slave on each other machine.  slaves: by path."""

    def __init__(self, place: Path, machines: Machines, paths: Sequence[str]) -> None:
        self.place = place
        self.machines = machines
        self.paths = tuple(sorted(paths, key=lambda path: (path.count("/"), path)))
        self.slaves: dict[str, Resident] = {}
        self.ended: list[Resident] = []
        self.swept: list[tuple[str, str]] = []
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": str(place),
            "GPROC_HOME": str(place / "home"), "PYTHONPATH": str(Path(gproc.__file__).parents[1]),
            "XDG_CACHE_HOME": str(place / "cache"), "TMPDIR": "/mnt/tmp",
        }  # fmt: skip
        place.mkdir()
        own = (f"--socket={place}/g", f"--address={machines[FRONT].address}", f"--cmd-port={PORT}")
        words = ("m", *own, f"--orphan-timeout={LEASE_S}", f"--state={place}/state", "--store=/mnt/store")
        self.master = self._launch(FRONT, *words)
        self.master.says(r"master on \S+, port \d+, commands at")
        for depth in range(3):
            for path in self.paths:
                if path.count("/") == depth:
                    self.start(path)
            self.await_all(depth)

    def parent(self, path: str) -> str:
        """The machine of a node's parent at home."""
        return path.rpartition("/")[0] or FRONT

    def start(self, path: str) -> None:
        if path in self.slaves:
            self.ended.append(self.slaves[path])
        own = (f"--address={self.machines[path].address}", f"--cmd-port={PORT}", "--store=/mnt/store")
        parent = f"--parent={self.machines[self.parent(path)].address}:{PORT}"
        words = ("s", parent, f"--id={path.rpartition('/')[2]}", *own, "--store-size=48M", "-binRoot=/mnt/root")
        self.slaves[path] = self._launch(path, *words)

    def _launch(self, machine: str, *words: str) -> Resident:
        entry = self.machines[machine].entry()
        return Resident([*entry, sys.executable, "-m", "gproc", *words], self.env, self.place)

    # Commands

    def begin(self, mode: str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command at the front."""
        argv = [*self.machines[FRONT].entry(), sys.executable, "-m", "gproc", mode, f"--socket={self.place}/g", *words]
        env = {**self.env, **options.pop("env", {})}
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(argv, env=env, cwd=self.place, **options)

    def homes(self) -> dict[str, str]:
        """The state of each node."""
        out, errors = self.begin("i", "--json").communicate(timeout=PATIENCE_S)
        assert out, errors
        return {node["path"]: node["state"] for node in json.loads(out)["nodes"]}

    def await_all(self, depth: int = 2) -> None:
        """Wait until all nodes down to this depth are up."""
        wanted = {path for path in self.paths if path.count("/") <= depth}
        until_s = time.monotonic() + PATIENCE_S
        while (up := {path for path, state in self.homes().items() if state == "up"}) < wanted:
            assert time.monotonic() < until_s, f"not back: {', '.join(sorted(wanted - up))}"
            for path in wanted - up:
                slave = self.slaves[path]
                assert slave.process.poll() is None, f"{path} has ended by itself:\n{slave.log}"
            time.sleep(ASK_EVERY_S)

    def sweep(self, path: str, name: str) -> None:
        """Remove what a copy has placed on a machine."""
        self.swept.append((path, name))
        shutil.rmtree(self.machines[path].disk / name, ignore_errors=True)

    def sweep_again(self) -> None:
        """A machine that was frozen then goes on for a moment when it is thawed, before it ends a copy that is lost."""
        for path, name in self.swept:
            shutil.rmtree(self.machines[path].disk / name, ignore_errors=True)

    def stop(self) -> None:
        """Ctrl-C for the master: every node ends well, and nothing is left on its machine."""
        self.master.kill(signal.SIGINT)
        for path, slave in self.slaves.items():
            assert slave.wait() == 0, f"{path}:\n{slave.log}"
        assert self.master.wait() == 0, self.master.log
        for daemon in (self.master, *self.ended, *self.slaves.values()):
            for text in ("Traceback", "bug in gproc"):
                assert text not in daemon.log, daemon.log
