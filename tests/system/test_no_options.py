"""Master and several slaves of one machine that are started with no option at all, as the original's were.

They have a network and the usual places of their own, because those may be somebody's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from tests.patience import PATIENCE_S
from tests.system.cluster import Daemon

SET_UP = """
set -e
ip link set lo up
mount --bind "$1" /mnt
for place in /tmp /run /var/cache /var/lib; do mount -t tmpfs none $place; done
echo ready
exec cat
"""


class Machine:
    """A machine of its own, but for its disk and its processes."""

    def __init__(self, home: Path) -> None:
        checkout = Path(gproc.__file__).parents[1]
        if Path("/tmp") in checkout.parents or Path("/run") in checkout.parents:
            pytest.skip(f"{checkout} would be hidden by a /tmp and a /run of the test's own")
        home.mkdir(mode=0o700)
        command = ["unshare", "--net", "--mount", "--", "sh", "-c", SET_UP, "sh", str(home)]
        pipe = subprocess.PIPE
        self._holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != "ready\n":
            pytest.skip(f"no machine of its own can be made: {self._holder.stderr.read().strip()}")
        enter = ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", "--"]
        self._gproc = [*enter, sys.executable, "-m", "gproc"]
        self._env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": "/mnt",
            "PYTHONPATH": str(Path(gproc.__file__).parents[1]),
        }  # fmt: skip

    def start(self, mode: str) -> Daemon:
        return Daemon([*self._gproc, mode], self._env, Path("/"))

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._gproc, *words], env=self._env, cwd="/", capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("only root makes a network and mounts of its own")
    machine = Machine(tmp_path / "home")
    yield machine
    machine.close()


def test_several_slaves_of_one_machine_need_no_option(machine: Machine) -> None:
    master = machine.start("m")
    master.says(r"master on \S+, port \d+, commands at /tmp/g")
    slaves = [machine.start("s") for _ in range(3)]
    places = {slave.says(r"this is node (\d)$").group(1) for slave in slaves}
    assert places == {"1", "2", "3"}
    assert machine.run("e", "-localbin", "./.", "/bin/echo", "well") == "well\n" * 3
    again = slaves.pop()
    again.kill(signal.SIGTERM)
    assert again.wait() == 0
    slaves.append(machine.start("s"))
    assert slaves[-1].says(r"this is node (\d)$").group(1) in places
    assert machine.run("e", "-localbin", "./.", "/bin/echo", "well") == "well\n" * 3
    master.kill(signal.SIGINT)
    assert master.wait() == 0
    assert [slave.wait() for slave in slaves] == [0, 0, 0]
