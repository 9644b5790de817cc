"""Machines for the fault driver: each has a network, processes, mounts, a name and a small disk of its own.

They are joined by one bridge, and nftables on it drops what goes from one address to another: no carrier is lost, and
neither end is told.  A machine's disk is a tmpfs at /mnt, small enough to be filled.  Everything else is shared.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

TOOLS: Final = ("ip", "tc", "nft", "unshare", "nsenter")

FRONT: Final = "front"
"""The machine of the master and the clients."""

NETWORK: Final = "10.85.0"
DISK_MIB: Final = 160

_BOOT: Final = """set -e
hostname "$0"
mount -t proc proc /proc
mount -t tmpfs -o size="$1"m tmpfs /mnt
mkdir /mnt/tmp
ip link set lo up
exec 3<&0
cat <&3 >/dev/null &
echo up
wait $!
"""
"""Process 1 of a machine.  It reaps orphans, and ends with its standard input, so with the tests at the latest."""

_SWITCH: Final = """
table bridge chaos {
    set cut { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip saddr . ip daddr @cut drop
    }
}
"""


def why_not() -> str:
    """What this machine lacks; "" if it has everything."""
    if os.geteuid() != 0:
        return "machines with networks of their own need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (Debian: iproute2, nftables, util-linux)" if missing else ""


class HostMachine:
    """One machine that is up."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.address = f"{NETWORK}.{number + 1}"
        self.port = f"p{number}"
        words = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _BOOT]
        self._unshare = subprocess.Popen(
            [*words, name.replace("/", "-"), str(DISK_MIB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # unshare complains when its child is killed
        )  # fmt: skip
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == b"up\n", f"{name} did not come up"
        (self.init,) = child_pids(self._unshare.pid)
        self.mounts = self.mounted()

    @property
    def disk(self) -> Path:
        """Its /mnt, as seen from here."""
        return Path(f"/proc/{self.init}/root/mnt")

    def entry(self) -> list[str]:
        """The beginning of a command line that runs on this machine."""
        return ["nsenter", "-t", str(self.init), "-n", "-u", "-m", "-p", "--"]

    def mounted(self) -> list[str]:
        """Its mount points."""
        return sorted(line.split()[4] for line in Path(f"/proc/{self.init}/mountinfo").read_text().splitlines())

    def left_mounts(self) -> list[str]:
        """The mount points that it has got since it is up.

        gproc mounts only in namespaces of jobs, which are slaves of this one, so one that is here stays.  That some of
        the beginning are gone says nothing: the kernel takes a mount point that another machine or another test
        removes, such as a name of `ip netns`, out of all namespaces.
        """
        return sorted((Counter(self.mounted()) - Counter(self.mounts)).elements())

    def processes(self) -> list[int]:
        """Its processes, as numbered here, also those in namespaces of jobs, without process 1 and its `cat`."""
        network, outside = os.readlink(f"/proc/{self.init}/ns/net"), os.readlink("/proc/self/ns/pid")
        boot = {self.init, *child_pids(self.init, named="cat")}
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(OSError):  # it has just ended, or nobody has waited for it yet
                if os.readlink(f"/proc/{pid}/ns/net") == network and os.readlink(f"/proc/{pid}/ns/pid") != outside:
                    found.append(pid)
        return [pid for pid in found if pid not in boot]

    def signal_all(self, signum: int) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def fill(self) -> None:
        """Leave no room on its disk."""
        with open(self.disk / "full", "ab", buffering=0) as file:
            block = bytes(1 << 20)
            while len(block) > 512:
                try:
                    if file.write(block) < len(block):
                        block = block[: len(block) // 2]
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block = block[: len(block) // 2]

    def make_room(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.disk / "full").unlink()

    def crash(self) -> None:
        """All its processes end at once, and nobody is told."""
        os.kill(self.init, signal.SIGKILL)
        self._unshare.wait()


class Machines:
    """The machines, by name, and the switch between them, while the context is open."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = (FRONT, *names)
        self._switch = f"gpc{os.getpid()}"
        self.by_name: dict[str, HostMachine] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Machines:
        _do("ip", "netns", "add", self._switch)
        try:
            self._on_switch("ip", "link", "add", "br0", "type", "bridge")
            self._on_switch("ip", "link", "set", "br0", "up")
            self._on_switch("nft", "-f", "-", text=_SWITCH)
            for name in self._names:
                self.boot(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.by_name.values():
            with contextlib.suppress(ProcessLookupError):
                machine.crash()
        subprocess.run(["ip", "netns", "del", self._switch], stderr=subprocess.DEVNULL, check=False)

    def __getitem__(self, name: str) -> HostMachine:
        return self.by_name[name]

    def boot(self, name: str) -> None:
        machine = self.by_name[name] = HostMachine(name, self._names.index(name))
        holder = str(machine.init)
        inside = ("nsenter", "-t", holder, "-n", "--")
        self._on_switch("ip", "link", "add", machine.port, "type", "veth", "peer", "name", "eth0", "netns", holder)
        self._on_switch("ip", "link", "set", machine.port, "master", "br0", "up")
        _do(*inside, "ip", "addr", "add", f"{machine.address}/24", "dev", "eth0")
        _do(*inside, "ip", "link", "set", "eth0", "up")

    def crash(self, name: str) -> None:
        """As if its plug were pulled.  `boot` brings it back, with an empty disk."""
        self[name].crash()
        with contextlib.suppress(AssertionError):  # the kernel may have removed it with the machine
            self._on_switch("ip", "link", "del", self[name].port)

    def cut(self, ways: Sequence[tuple[str, str]]) -> None:
        """Nothing that the first of each pair sends arrives at the second any more."""
        self._block("add", [way for way in ways if not self._cuts[way]])
        self._cuts.update(ways)

    def mend(self, ways: Sequence[tuple[str, str]]) -> None:
        """Undo a `cut`.  What another one has cut too stays so."""
        self._cuts.subtract(ways)
        self._block("delete", [way for way in ways if not self._cuts[way]])

    def _block(self, verb: str, ways: Sequence[tuple[str, str]]) -> None:
        if ways:
            pairs = ", ".join(f"{self[source].address} . {self[sink].address}" for source, sink in ways)
            self._on_switch("nft", verb, "element", "bridge", "chaos", "cut", f"{{ {pairs} }}")

    def slow(self, name: str, rate_mbit: int) -> None:
        """What comes to this machine comes slowly, by a switch with a queue of 50 ms."""
        shape = ("root", "tbf", "rate", f"{rate_mbit}mbit", "burst", "64kb", "latency", "50ms")
        self._on_switch("tc", "qdisc", "replace", "dev", self[name].port, *shape)

    def quicken(self, name: str) -> None:
        self._on_switch("tc", "qdisc", "del", "dev", self[name].port, "root")

    def _on_switch(self, *command: str, text: str = "") -> None:
        _do("ip", "netns", "exec", self._switch, *command, text=text)


def machines_or_skip(names: Sequence[str]) -> Machines:
    if reason := why_not():
        pytest.skip(reason)
    return Machines(names)


def child_pids(pid: int, named: str = "") -> list[int]:
    """The children of a process: all of them, or those of this name."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if not named or Path(f"/proc/{child}/comm").read_text().strip() == named]


def state_of(pid: int) -> str:
    """The letter of a process's state: proc_pid_stat(5).  Raises: OSError if there is none."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _do(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode().strip()}"
