"""`make demo`: a tree of eight slaves on this machine, from start to end, with the commands to type.

    master ── 1 ── 1/1 1/2 1/3
           └─ 2 ── 2/1 2/2 2/3

Everything is in a temporary directory: your own cluster on this machine and its keys are not touched.
Exit status: 0 if everything went as described, else 1.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Final

RACKS: Final = ("1", "2")
LEAVES: Final = ("1", "2", "3")
NODES: Final = tuple(path for rack in RACKS for path in (rack, *(f"{rack}/{leaf}" for leaf in LEAVES)))

READY_S: Final = 20.0
"""The time for a process to become ready, and for a command to end, on a busy machine."""

STOP_S: Final = 5.0
"""After Ctrl-C on the master every slave ends within 2 s; a busy machine may need longer."""


class DemoFailed(Exception):
    """Something did not go as described."""


class Demo:
    """The processes of the demo.  It prints the commands that it runs, without the switches that separate the demo."""

    def __init__(self, place: str) -> None:
        self._socket = ["--socket", f"{place}/g"]
        self._place = place
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environ = os.environ | {"GPROC_HOME": f"{place}/home", "XDG_CACHE_HOME": f"{place}/cache"}

    def start(self, name: str, arguments: list[str], ready: str) -> None:
        """Start a master or a slave, which runs until `end`, and wait for the word `ready` in its log."""
        show_line(f"$ gproc {shlex.join(arguments)} &")
        separate = ["--store", f"{self._place}/store/{name.replace('/', '.')}", "-binRoot", f"{self._place}/x"]
        process = subprocess.Popen(
            [*gproc(), *arguments, *separate, *(self._socket if name == "master" else [])],
            env=self._environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._running[name] = process
        log_until(process, name, ready)

    def run(self, *arguments: str, stdin: bytes | None = None, status: int = 0) -> str:
        """Run a command to its end and show its output.  Raises: DemoFailed if it ends with another status."""
        given = "" if stdin is None else f"printf '{stdin.decode()}' | ".replace("\n", "\\n")
        show_line(f"$ {given}gproc {shlex.join(arguments)}")
        mode, *rest = arguments
        done = subprocess.run(
            [*gproc(), mode, *self._socket, *rest], env=self._environ, input=stdin or b"", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=READY_S, check=False,
        )  # fmt: skip
        output = done.stdout.decode(errors="replace")
        sys.stdout.write(output)
        if done.returncode != status:
            raise DemoFailed(f"it ended with status {done.returncode}, not {status}")
        return output

    def interrupt_master(self) -> float:
        """Send Ctrl-C to the master.  Returns the seconds until every slave and all its processes have ended."""
        show_line("^C on the master")
        began_s = time.monotonic()
        self._running["master"].send_signal(signal.SIGINT)
        for name, process in self._running.items():
            try:
                status = process.wait(max(0.1, began_s + STOP_S - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise DemoFailed(f"{name} still runs after {STOP_S:.0f} s") from error
            if status != 0:
                raise DemoFailed(f"{name} ended with status {status}; its log: {rest_of_log(process)}")
        if left := self._left():
            raise DemoFailed(f"processes that are still running: {left}")
        return time.monotonic() - began_s

    def end(self) -> None:
        """Kill all processes, also after a failure."""
        for process in self._running.values():
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    def _left(self) -> list[int]:
        """All processes that have the demo's environment, with launchers and programs."""
        mark = os.fsencode(f"GPROC_HOME={self._environ['GPROC_HOME']}")
        left = []
        for name in os.listdir("/proc"):
            # Processes may end meanwhile, and those of other users cannot be read.
            with contextlib.suppress(OSError):
                if name.isdigit() and mark in open_environ(name):
                    left.append(int(name))
        return left


def main() -> int:
    place = tempfile.mkdtemp(prefix="gproc-demo-")
    demo = Demo(place)
    began_s = time.monotonic()
    try:
        show(demo, place)
    except (DemoFailed, subprocess.TimeoutExpired) as error:
        show_line(f"\nThe demo failed: {error}")
        return 1
    finally:
        demo.end()
        shutil.rmtree(place, ignore_errors=True)
    show_line(f"\nThe demo took {time.monotonic() - began_s:.1f} s and left nothing behind.")
    return 0


def show(demo: Demo, place: str) -> None:
    explain(f"Keys, stores, socket and binRoot are in {place}, by GPROC_HOME and three switches that are not shown.")

    explain("Start a master. The first time, it makes the cluster's keys.")
    ports = free_ports(1 + len(RACKS))
    demo.start("master", ["m", "--cmd-port", ports[0]], "master on")

    explain("Start two rack masters below it. On other machines: gproc s -myParent=FRONTEND.")
    for rack, port in zip(RACKS, ports[1:], strict=True):
        demo.start(rack, ["s", "--parent", f"127.0.0.1:{ports[0]}", "--id", rack, "--cmd-port", port], "joined")

    explain("Start three slaves below each of these.")
    for rack, port in zip(RACKS, ports[1:], strict=True):
        for leaf in LEAVES:
            demo.start(
                f"{rack}/{leaf}", ["s", "--parent", f"127.0.0.1:{port}", "--id", leaf, "--cmd-port", "0"], "joined"
            )

    explain("Look at the tree.")
    expect_lines(demo.run("i"), [f"{node}\t" for node in NODES])

    explain("Run a program on every node. gproc sends it there with its libraries; it runs in a root of its own.")
    hello = 'echo "$GPROC_NODE is rank $GPROC_RANK of $GPROC_SIZE on $(uname -n)"'
    expect_lines(demo.run("e", "./.", "/bin/sh", "-c", hello), [f"{node} is rank" for node in NODES])

    explain("Run another program, with the node in front of each line (-l). The nodes have the C library already.")
    expect_lines(demo.run("e", "-l", "./.", "/bin/date"), [f"{node}: " for node in NODES])

    explain("Standard input goes to every node. = selects only the last level, here the three nodes below 1.")
    sorted_there = demo.run("e", "-l", "=1/.", "/usr/bin/sort", stdin=b"pear\napple\n")
    expect_lines(sorted_there, [f"1/{leaf}: {word}" for leaf in LEAVES for word in ("apple", "pear")])

    explain("A failure is reported with its node, and its exit status becomes that of the command: 3.")
    demo.run("e", "./.", "/bin/sh", "-c", '[ "$GPROC_NODE" != 2/3 ] || exit 3', status=3)

    explain("Stop everything: end the master.")
    took_s = demo.interrupt_master()
    show_line(f"{len(NODES)} slaves and all processes that they had started ended within {took_s:.1f} s.")


def expect_lines(output: str, beginnings: list[str]) -> None:
    """Raises: DemoFailed unless there is a line for each beginning."""
    lines = output.splitlines()
    missing = [beginning for beginning in beginnings if not any(line.startswith(beginning) for line in lines)]
    if missing:
        raise DemoFailed(f"no line begins with {missing[0]!r}")


def log_until(process: subprocess.Popen[bytes], name: str, ready: str) -> None:
    """Read a process's log until it is ready.  Raises: DemoFailed with the log if the process does not become ready."""
    assert process.stderr is not None
    poller = select.poll()
    poller.register(process.stderr, select.POLLIN)
    log = b""
    deadline_s = time.monotonic() + READY_S
    while ready.encode() not in log:
        if not poller.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise DemoFailed(f"{name} was not ready after {READY_S:.0f} s; its log: {log.decode()}")
        more = os.read(process.stderr.fileno(), 4096)
        if not more:
            raise DemoFailed(f"{name} ended at once; its log: {log.decode()}")
        log += more


def rest_of_log(process: subprocess.Popen[bytes]) -> str:
    """The last part of the log of a process that has ended."""
    assert process.stderr is not None
    return process.stderr.read().decode(errors="replace")


def free_ports(count: int) -> list[str]:
    """Ports on which no process listens now."""
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(one.getsockname()[1]) for one in sockets]


def open_environ(pid: str) -> list[bytes]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().split(b"\0")


def gproc() -> list[str]:
    return [sys.executable, "-m", "gproc"]


def explain(text: str) -> None:
    show_line(f"\n# {text}")


def show_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
