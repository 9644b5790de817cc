"""A cluster of real processes on this machine, for tests: its logs, its commands, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import gproc
from tests import elf_memo
from tests.patience import PATIENCE_S
from tests.system.as_user import command_as, gproc_as

NOBODY: Final = 65534


class Daemon:
    """A `gproc m` or `gproc s`, and the lines of its log."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=dict(env),
            cwd=cwd,
            start_new_session=True,  # as in a terminal of its own: Ctrl-C in the test's terminal does not reach it
        )
        self._lines: list[str] = []
        self._times_s: list[float] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        with self._changed:
            return "\n".join(self._lines)

    def says(self, pattern: str, *, times: int = 1, since: int = 0) -> re.Match[str]:
        """Wait until `times` lines, from line `since` on, match.  Returns the last of these matches."""
        with self._changed:
            found: list[re.Match[str]] = []

            def enough() -> bool:
                found[:] = [match for line in self._lines[since:] if (match := re.search(pattern, line))]
                return len(found) >= times or self._ended

            self._changed.wait_for(enough, PATIENCE_S)
            assert len(found) >= times, f"{len(found)} lines of {times} match {pattern!r} in:\n" + "\n".join(
                self._lines
            )
            return found[times - 1]

    def said(self, pattern: str) -> list[tuple[float, re.Match[str]]]:
        """The lines so far that match, each with its time, of time.monotonic()."""
        with self._changed:
            pairs = list(zip(self._times_s, self._lines, strict=True))
        return [(time_s, match) for time_s, line in pairs if (match := re.search(pattern, line))]

    def mark(self) -> int:
        """A place in the log, for `says(since=)`."""
        with self._changed:
            return len(self._lines)

    def kill(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end and for the rest of its log.  Returns its exit status."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {timeout_s:.0f} s:\n{self.log}") from None
        self._reading.join(timeout_s)
        return status

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._times_s.append(time.monotonic())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self.process.stderr.close()


class Slave(Daemon):
    """A slave.  path: its place in the tree; port: the port for its children."""

    path: str = ""
    port: int = 0
    bin_root: Path


class Cluster:
    """A master, slaves and commands, separate from any other cluster of this machine."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "home"
        self.socket = place / "g"
        self.work = place / "work"
        self.slaves: list[Slave] = []
        self.port = 0
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "HOME": str(place),
            "GPROC_HOME": str(self.home),
            "PYTHONPATH": str(Path(gproc.__file__).parents[1]),
            "XDG_CACHE_HOME": str(place / "cache"),
            # Python starts all jobs: GPROC_INIT=python make test
            **{name: value for name, value in os.environ.items() if name == "GPROC_INIT"},
        }
        self.under: tuple[str, ...] = ()
        """A command that starts masters and slaves, as env(1) does."""
        self._master: Daemon | None = None
        self._ended: list[Daemon] = []
        self._serial = 0
        self._complaints: list[str] = []
        place.mkdir()
        for directory in (place, *place.parents):
            if directory.owner() == place.owner() and str(directory) not in ("/", "/tmp"):
                directory.chmod(directory.stat().st_mode | 0o055)  # for the programs of other users
        self.work.mkdir()
        elf_memo.give(place / "cache")

    # Processes

    @property
    def master(self) -> Daemon:
        assert self._master is not None
        return self._master

    def start_master(self, *switches: str, port: int = 0, uid: int | None = None) -> Daemon:
        port = port or unused_port()
        own = (f"-cmdport={port}", f"--socket={self.socket}", f"--store={self.place}/store-m")
        self._master = daemon = Daemon([*self.under, *gproc_as(uid), "m", *own, *switches], self.env, self.work)
        self.port = int(daemon.says(r"master on \S+, port (\d+), commands at").group(1))
        return daemon

    def launch_slave(
        self, *switches: str, parent: Slave | int | None = None, uid: int | None = None, home: Path | None = None,
        port: int | None = 0,
    ) -> Slave:  # fmt: skip
        """Start a slave without waiting for it.  parent: a slave, a port of this machine; None is the master."""
        self._serial += 1
        place = self.place / f"s{self._serial}"
        place.mkdir()
        dialled = parent if isinstance(parent, int) else self.port if parent is None else parent.port
        env = {**self.env, "GPROC_HOME": str(home or self.home)}
        if uid is not None:
            env["HOME"] = str(place)
            os.chown(place, uid, uid)
        argv = [
            *self.under,
            *gproc_as(uid),
            "s",
            f"--parent=127.0.0.1:{dialled}",
            f"--store={place}/store",
            f"-binRoot={place}/root",
        ]
        if port is not None:
            argv.append(f"-cmdport={port}")
        slave = Slave([*argv, *switches], env, self.work)
        slave.bin_root = place / "root"
        self.slaves.append(slave)
        return slave

    def slave(
        self, id: int | None = None, *switches: str, parent: Slave | None = None, uid: int | None = None,
        home: Path | None = None, port: int | None = 0,
    ) -> Slave:  # fmt: skip
        """Start a slave and wait until it is in the tree."""
        upstream: Daemon = parent or self.master
        since = upstream.mark()
        given = () if id is None else (f"--id={id}",)
        slave = self.launch_slave(*given, *switches, parent=parent, uid=uid, home=home, port=port)
        return self.joined(slave, upstream, since)

    def joined(self, slave: Slave, upstream: Daemon, since: int = 0) -> Slave:
        """Wait until the slave is in the tree.  upstream: its parent, whose log is read from line `since` on."""
        number = slave.says(r"joined \S+ as node (\d+)").group(1)
        slave.port = int(upstream.says(rf"node {number} joined: \S+ at \S+:(\d+)$", since=since).group(1))
        slave.path = slave.says(r"this is node (\S+)").group(1)
        return slave

    def slaves_at_once(self, count: int, *, parent: Slave | None = None) -> list[Slave]:
        """Start slaves with ids from 1 to `count` at the same time, and wait until all are in the tree."""
        upstream: Daemon = parent or self.master
        started = [self.launch_slave(f"--id={number}", parent=parent) for number in range(1, count + 1)]
        return [self.joined(slave, upstream) for slave in started]

    def start_small_tree(self) -> None:
        """A master with node 1, its child 1/2, and node 3."""
        self.start_master()
        self.slave(2, parent=self.slave(1))
        self.slave(3)

    def forget(self, daemon: Daemon) -> None:
        """Drop a process that a test has ended."""
        self._ended.append(daemon)
        if isinstance(daemon, Slave):
            self.slaves.remove(daemon)
        else:
            self._master = None

    def end(self, daemon: Daemon, signum: int) -> None:
        """End a process by a signal, and wait for it."""
        daemon.kill(signum)
        daemon.wait()
        self.forget(daemon)

    # Commands

    def exec(self, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run `gproc e ...` to its end."""
        return self.command("e", *words, **options)

    def info(self) -> dict[str, Any]:
        done = self.command("i", "--json")
        assert done.returncode == 0, done.stderr
        tree: dict[str, Any] = json.loads(done.stdout)
        return tree

    def states(self) -> dict[str, str]:
        """The state of each connected node by its path."""
        absent = ("unreachable", "down")
        return {node["path"]: node["state"] for node in self.info()["nodes"] if node["state"] not in absent}

    def command(self, mode: str, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command of any mode that has --socket to its end; `mode` and `words` are as on a command line.

        stdin is empty unless `input` or `stdin` is given.
        """
        sent = options.pop("input", None)
        if sent is not None:
            options["stdin"] = subprocess.PIPE
        process = self.begin(mode, *words, **options)
        try:
            stdout, stderr = process.communicate(sent, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        self._complaints.append((stderr or b"").decode(errors="replace"))
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def begin(self, mode: str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command, which runs while the test goes on.

        env: variables besides the cluster's.  uid, groups: to run it as another user.  before: words that start it.
        """
        uid = options.pop("uid", None)
        argv = [*options.pop("before", ()), *command_as(uid, options.pop("groups", ()))]
        env = {**self.env, **({} if uid is None else {"XDG_CACHE_HOME": self._cache_of(uid)}), **options.pop("env", {})}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {**pipes, "cwd": self.work, **options}
        return subprocess.Popen([*argv, f"--socket={self.socket}", mode, *words], env=env, **options)

    def _cache_of(self, uid: int) -> str:
        cache = self.place / f"cache-{uid}"
        return str(cache if cache.exists() else elf_memo.give(cache, uid))

    def finish(self, process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
        """Wait for a command that `begin` started.  Returns its status, stdout and stderr."""
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        self._complaints.append((stderr or b"").decode(errors="replace"))
        return process.returncode, (stdout or b"").decode(), (stderr or b"").decode()

    def write_program(self, name: str, body: str) -> str:
        """Write a shell script into the working directory.  Returns its path."""
        path = self.work / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    # Checks that nothing is left

    def job_processes(self) -> list[int]:
        """Every process that a job started: it has the client's environment, and GPROC_JOB."""
        return [pid for pid, env in self._processes() if b"GPROC_JOB=" in env]

    def nothing_runs(self, within_s: float = 2.0) -> None:
        """Check that no process of any job is left after at most this time."""
        await_ends(self.job_processes(), within_s)
        left = self.job_processes()
        assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]

    def stop(self) -> None:
        """Send Ctrl-C to the master, and check that every slave ends and nothing is left."""
        running = list(self.slaves)
        for cache in self.place.glob("cache*"):
            elf_memo.take(cache)
        try:
            if self._master is not None:
                self.end(self._master, signal.SIGINT)
            for slave in running:
                assert slave.wait() == 0, slave.log
        finally:
            for slave in running:
                slave.process.kill()
        self.check()

    def stop_behind_a_relay(self) -> None:
        """Stop the slaves before the master: through a relay, one connection's end can overtake another's message."""
        for slave in list(self.slaves):
            self.end(slave, signal.SIGTERM)
        self.stop()

    def check(self) -> None:
        """Check after the end that no process, mount or file is left, and that no log has a traceback."""
        await_ends([pid for pid, _ in self._processes()], 2.0)
        assert not [Path(f"/proc/{pid}/cmdline").read_bytes() for pid, _ in self._processes()]
        assert str(self.place) not in Path("/proc/self/mountinfo").read_text()
        for bin_root in self.place.glob("s*/root"):
            assert not list(bin_root.iterdir()), f"files are left in {bin_root}"
        assert not self.socket.exists()
        for text in (*self._complaints, *(daemon.log for daemon in (*self._ended, *self.slaves))):
            assert "Traceback" not in text, text
            assert "bug in gproc" not in text, text

    def _processes(self) -> Iterator[tuple[int, bytes]]:
        marker = f"HOME={self.place}".encode()
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                with contextlib.suppress(OSError):
                    env = Path(f"/proc/{entry}/environ").read_bytes()
                    if marker in env:
                        yield int(entry), env


def unused_port() -> int:
    """A port that the kernel gives to no other socket, so that a master that is started again finds its port free."""
    while True:
        port = random.randint(12_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def await_ends(pids: Sequence[int], within_s: float) -> None:
    """Wait until all of these processes are gone, but at most this long."""
    waiting = select.poll()
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    for handle in handles:
        waiting.register(handle, select.POLLIN)
    left = set(handles)
    while left:
        ended = waiting.poll(within_s * 1000)
        if not ended:
            break
        for handle, _ in ended:
            waiting.unregister(handle)
            left.discard(handle)
    for handle in handles:
        os.close(handle)


def fell(cluster: Cluster, slave: Slave, signum: signal.Signals) -> None:
    """A node has been sent this signal: see to its end, or wake it and wait until it is back."""
    if signum == signal.SIGSTOP:
        since = cluster.master.mark()
        slave.kill(signal.SIGCONT)
        cluster.master.says(rf" {slave.path} \(\S+\) is reached from here", since=since)
    else:
        slave.wait()
        cluster.forget(slave)
