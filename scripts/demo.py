"""`make demo`: a tree of eight slaves on this machine, from its start to its end, with the commands to type.

    master ── 1 ── 1/1 1/2 1/3
           └─ 2 ── 2/1 2/2 2/3

All of it lies in a temporary directory: a cluster of yours on this machine is not touched, nor are its keys.
Exit status: 0 where all went as told, 1 where it did not.
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
"""For a process to say that it is ready, and for a command to end, on a machine with other work."""

STOP_S: Final = 5.0
"""After Ctrl-C on the master every slave ends within 2 s; on a busy machine it may be seen later."""


class DemoFailed(Exception):
    """Something did not go as told."""


class Demo:
    """The processes of the demo.  What is printed is what was run, but for the switches that keep it apart."""

    def __init__(self, place: str) -> None:
        self._socket = ["--socket", f"{place}/g"]
        self._place = place
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environ = os.environ | {"GPROC_HOME": f"{place}/home", "XDG_CACHE_HOME": f"{place}/cache"}

    def start(self, name: str, arguments: list[str], ready: str) -> None:
        """Run a master or a slave until `end`; waits for the log line in which it says `ready`."""
        say(f"$ gproc {shlex.join(arguments)} &")
        apart = ["--store", f"{self._place}/store/{name.replace('/', '.')}", "-binRoot", f"{self._place}/x"]
        process = subprocess.Popen(
            [*gproc(), *arguments, *apart, *(self._socket if name == "master" else [])],
            env=self._environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._running[name] = process
        log_until(process, name, ready)

    def run(self, *arguments: str, stdin: bytes | None = None, status: int = 0) -> str:
        """Run a command to its end and show what it said.  Raises: DemoFailed where its status is another."""
        given = "" if stdin is None else f"printf '{stdin.decode()}' | ".replace("\n", "\\n")
        say(f"$ {given}gproc {shlex.join(arguments)}")
        mode, *rest = arguments
        done = subprocess.run(
            [*gproc(), mode, *self._socket, *rest], env=self._environ, input=stdin or b"", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=READY_S, check=False,
        )  # fmt: skip
        output = done.stdout.decode(errors="replace")
        sys.stdout.write(output)
        if done.returncode != status:
            raise DemoFailed(f"it ended with status {done.returncode}; {status} was to be expected")
        return output

    def interrupt_master(self) -> float:
        """Ctrl-C on the master; the seconds until every slave, and all that belongs to one, has ended."""
        say("^C on the master")
        began_s = time.monotonic()
        self._running["master"].send_signal(signal.SIGINT)
        for name, process in self._running.items():
            try:
                status = process.wait(max(0.1, began_s + STOP_S - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise DemoFailed(f"{name} still runs {STOP_S:.0f} s later") from error
            if status != 0:
                raise DemoFailed(f"{name} ended with status {status}; it said: {rest_of_log(process)}")
        if left := self._left():
            raise DemoFailed(f"processes that nobody ended: {left}")
        return time.monotonic() - began_s

    def end(self) -> None:
        """Whatever happened: nothing is left."""
        for process in self._running.values():
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    def _left(self) -> list[int]:
        """Processes that carry the demo's environment, launchers and programs among them."""
        mark = os.fsencode(f"GPROC_HOME={self._environ['GPROC_HOME']}")
        left = []
        for name in os.listdir("/proc"):
            # They end while we look, and those of other users are closed to us.
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
        say(f"\nThe demo failed: {error}")
        return 1
    finally:
        demo.end()
        shutil.rmtree(place, ignore_errors=True)
    say(f"\nThe demo took {time.monotonic() - began_s:.1f} s and left nothing behind.")
    return 0


def show(demo: Demo, place: str) -> None:
    tell(f"Keys, stores, socket and binRoot are in {place}: by GPROC_HOME and three switches that are left out below.")

    tell("Start a master. The first time, it makes the cluster's keys.")
    ports = free_ports(1 + len(RACKS))
    demo.start("master", ["m", "--cmd-port", ports[0]], "master on")

    tell("Start two rack masters below it. On other machines: gproc s -myParent=FRONTEND.")
    for rack, port in zip(RACKS, ports[1:], strict=True):
        demo.start(rack, ["s", "--parent", f"127.0.0.1:{ports[0]}", "--id", rack, "--cmd-port", port], "joined")

    tell("Start three slaves below each of these.")
    for rack, port in zip(RACKS, ports[1:], strict=True):
        for leaf in LEAVES:
            demo.start(
                f"{rack}/{leaf}", ["s", "--parent", f"127.0.0.1:{port}", "--id", leaf, "--cmd-port", "0"], "joined"
            )

    tell("Look at the tree.")
    expect_lines(demo.run("i"), [f"{node} " for node in NODES])

    tell("Run a program on every node. It is sent there with its libraries, and runs in a root of its own.")
    hello = 'echo "$GPROC_NODE is rank $GPROC_RANK of $GPROC_SIZE on $(uname -n)"'
    expect_lines(demo.run("e", "./.", "/bin/sh", "-c", hello), [f"{node} is rank" for node in NODES])

    tell("Once more, another one, each line with its node in front (-l): now the C library is there already.")
    expect_lines(demo.run("e", "-l", "./.", "/bin/date"), [f"{node}: " for node in NODES])

    tell("Standard input goes to every node; = selects the last level alone, here the three nodes below 1.")
    sorted_there = demo.run("e", "-l", "=1/.", "/usr/bin/sort", stdin=b"pear\napple\n")
    expect_lines(sorted_there, [f"1/{leaf}: {word}" for leaf in LEAVES for word in ("apple", "pear")])

    tell("A failure is told by node, and becomes the command's own exit status: 3.")
    demo.run("e", "./.", "/bin/sh", "-c", '[ "$GPROC_NODE" != 2/3 ] || exit 3', status=3)

    tell("Stop everything: end the master.")
    took_s = demo.interrupt_master()
    say(f"{len(NODES)} slaves and all that they had started ended within {took_s:.1f} s.")


def expect_lines(output: str, beginnings: list[str]) -> None:
    """Raises: DemoFailed unless every one of these begins a line."""
    lines = output.splitlines()
    missing = [wanted for wanted in beginnings if not any(line.startswith(wanted) for line in lines)]
    if missing:
        raise DemoFailed(f"no line begins with {missing[0]!r}")


def log_until(process: subprocess.Popen[bytes], name: str, ready: str) -> None:
    """Read what a process logs, until it is ready.  Raises: DemoFailed with what it said instead."""
    assert process.stderr is not None
    poller = select.poll()
    poller.register(process.stderr, select.POLLIN)
    said = b""
    deadline_s = time.monotonic() + READY_S
    while ready.encode() not in said:
        if not poller.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise DemoFailed(f"{name} was not ready after {READY_S:.0f} s; it said: {said.decode()}")
        more = os.read(process.stderr.fileno(), 4096)
        if not more:
            raise DemoFailed(f"{name} ended at once; it said: {said.decode()}")
        said += more


def rest_of_log(process: subprocess.Popen[bytes]) -> str:
    """What a process that has ended logged last."""
    assert process.stderr is not None
    return process.stderr.read().decode(errors="replace")


def free_ports(count: int) -> list[str]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(one.getsockname()[1]) for one in sockets]


def open_environ(pid: str) -> list[bytes]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().split(b"\0")


def gproc() -> list[str]:
    return [sys.executable, "-m", "gproc"]


def tell(text: str) -> None:
    say(f"\n# {text}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
