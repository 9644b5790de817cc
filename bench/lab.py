"""Hosts on one machine, each with a network link of limited rate: root only, with iproute2 and util-linux.

A host is a network, a UTS and a mount namespace, joined to one bridge by a veth pair.  tbf, tc-tbf(8), limits both ends
of the pair, so that a host has the rate in each direction, like a machine at a switch.  /mnt and /run are its own, and
its /etc/hosts names the others.  Memory, processors and all other file systems are shared: the lab measures what the
links allow.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Final

import msgspec

from bench.cleanup import uninterrupted

TOOLS: Final = ("ip", "tc", "unshare", "nsenter")

HEAD: Final = "master"
_NETWORK: Final = "10.83"
"""A private network, RFC 1918.  The namespaces are not connected to any other, so it cannot collide."""

_HOSTS_PER_NET: Final = 200

BURST: Final = "128kb"
"""Enough for the largest segment of offloading, and 20 ms at 50 Mbit/s: small beside any payload."""

QUEUE_MS: Final = 20
"""The longest queue of a switch: it drops packets beyond."""

_BOOT: Final = """set -e
hostname "$0"
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mount -t tmpfs tmpfs /mnt
mount --bind "$1" /etc/hosts
ip link set lo up
echo up
exec cat
"""
"""A host's first process.  It ends at the end of its standard input, so it ends with this process in any case."""


class LabFailed(Exception):
    """The hosts could not be made."""


class NoLab(LabFailed):
    """This machine cannot have a lab; the message says what is missing."""


class Traffic(msgspec.Struct, frozen=True):
    """Bytes over a host's link, with headers."""

    sent: int
    received: int

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(self.sent - before.sent, self.received - before.received)


class Lab:
    """Hosts for the nodes of a `bench.tree.Tree`, as its `Site`.  They exist while the context is open."""

    def __init__(self, names: list[str], rate_mbit: int, others: Mapping[str, int] | None = None) -> None:
        """rate_mbit: the rate of every link, except those in `others`, by host."""
        self._index = {name: number for number, name in enumerate([HEAD, *names])}
        self._rates_mbit = dict.fromkeys(self._index, rate_mbit) | dict(others or {})
        self._switch = f"gpb{os.getpid()}"
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Lab:
        if (reason := impossible()) is not None:
            raise NoLab(reason)
        try:
            _do("ip", "netns", "add", self._switch)
            _do("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
            _do("ip", "-n", self._switch, "link", "set", "br0", "up")
            with tempfile.NamedTemporaryFile("w", prefix="gproc-bench-", suffix=".hosts") as hosts:
                hosts.write("127.0.0.1 localhost\n")
                hosts.writelines(f"{self.address(name)} {self.host(name)}\n" for name in self._index)
                hosts.flush()
                for name in self._index:  # each host's mount keeps the file alive
                    self._boot(name, hosts.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            for holder in self._holders.values():
                holder.send_signal(signal.SIGKILL)
                holder.wait()
            subprocess.run(["ip", "netns", "del", self._switch], stderr=subprocess.DEVNULL, check=False)

    def address(self, name: str) -> str:
        index = self._index[name]
        return f"{_NETWORK}.{index // _HOSTS_PER_NET}.{index % _HOSTS_PER_NET + 1}"

    def host(self, name: str) -> str:
        return HEAD if name == HEAD else "node" + name.replace("/", "-")

    def entry(self, name: str) -> list[str]:
        return ["nsenter", "-t", str(self._holders[name].pid), "-n", "-u", "-m", "--"]

    def holder(self, name: str) -> int:
        """A process in the host's namespaces."""
        return self._holders[name].pid

    def traffic(self) -> dict[str, Traffic]:
        """Traffic since the lab began, by host.  The switch counts it: what the switch received, the host sent."""
        found = {}
        for port in msgspec.json.decode(_do("ip", "-n", self._switch, "-j", "-s", "link")):
            if port["ifname"].startswith("p"):
                found[int(port["ifname"][1:])] = port["stats64"]
        return {
            name: Traffic(found[index]["rx"]["bytes"], found[index]["tx"]["bytes"])
            for name, index in self._index.items()
        }

    # Cuts: packets are dropped without a sign.  No carrier is lost, and no host is told

    def cut(self, name: str) -> None:
        """Nothing comes to this host any more, and nothing from it."""
        _do("ip", "-n", self._switch, "link", "set", self._port(name), "nomaster")

    def cut_to(self, name: str) -> None:
        """Nothing comes to this host any more; what it sends arrives."""
        _do("tc", "-n", self._switch, "qdisc", "replace", "dev", self._port(name), "root", "pfifo", "limit", "0")

    def mend(self, name: str) -> None:
        """Undo both kinds of cuts."""
        port = self._port(name)
        _do("ip", "-n", self._switch, "link", "set", port, "master", "br0")
        _do("tc", "-n", self._switch, "qdisc", "replace", "dev", port, *self._shape(name))

    def part(self, one: str, other: str) -> None:
        """Nothing passes between these two hosts any more: each sends to a card address that no host has."""
        for here, there in ((one, other), (other, one)):
            self._neighbour(here, "replace", there, "lladdr", "02:00:00:00:00:00", "nud", "permanent")

    def rejoin(self, one: str, other: str) -> None:
        """Undo `part`."""
        for here, there in ((one, other), (other, one)):
            self._neighbour(here, "delete", there)

    def _neighbour(self, here: str, verb: str, there: str, *how: str) -> None:
        _do(*self.entry(here), "ip", "neighbour", verb, self.address(there), *how, "dev", "eth0")

    def _port(self, name: str) -> str:
        return f"p{self._index[name]}"

    def _shape(self, name: str) -> tuple[str, ...]:
        rate = f"{self._rates_mbit[name]}mbit"
        return ("root", "tbf", "rate", rate, "burst", BURST, "latency", f"{QUEUE_MS}ms")

    def _boot(self, name: str, hosts: str) -> None:
        """Start a process that keeps the host's namespaces alive, and make a link into them."""
        holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "sh", "-c", _BOOT, self.host(name), hosts],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._holders[name] = holder
        assert holder.stdout is not None
        if holder.stdout.readline() != b"up\n":
            raise LabFailed(f"host {self.host(name)} did not come up")
        port = self._port(name)
        inside = ["nsenter", "-t", str(holder.pid), "-n", "--"]
        _do("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
            str(holder.pid))  # fmt: skip
        _do("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
        _do(*inside, "ip", "addr", "add", f"{self.address(name)}/16", "dev", "eth0")
        _do(*inside, "ip", "link", "set", "eth0", "up")
        shape = self._shape(name)
        _do(*inside, "tc", "qdisc", "add", "dev", "eth0", *shape)
        _do("tc", "-n", self._switch, "qdisc", "add", "dev", port, *shape)


def impossible() -> str | None:
    """Why this machine cannot have a lab; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces with limited links need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (Debian: iproute2, util-linux)" if missing else None


def _do(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise LabFailed(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    return done.stdout
