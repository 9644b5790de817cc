"""Hosts on one machine, each with a network link of limited rate: root only, with iproute2 and util-linux.

A host is a network and a UTS namespace, joined to one bridge by a veth pair.  Both ends of the pair are held to the
rate by tbf, tc-tbf(8), so a host has what a machine on a switch has: so much in each direction.  Memory, processors
and file systems stay shared: what is measured is what the links allow.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import Final

import msgspec

TOOLS: Final = ("ip", "tc", "unshare", "nsenter")

HEAD: Final = "master"
_NETWORK: Final = "10.83"
"""Private, RFC 1918; the namespaces have no way out, so it collides with nothing."""

_HOSTS_PER_NET: Final = 200

BURST: Final = "64kb"
"""Enough for one segment as offloading makes them, and 10 ms at 50 Mbit/s: small beside any payload."""

QUEUE_MS: Final = 20
"""What a switch's buffer holds before it drops."""


class LabFailed(Exception):
    """The hosts could not be made."""


class NoLab(LabFailed):
    """There can be no lab on this machine; says what is missing."""


class Traffic(msgspec.Struct, frozen=True):
    """Bytes that went over a host's link, headers included."""

    sent: int
    received: int

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(self.sent - before.sent, self.received - before.received)


class Lab:
    """Hosts named as the nodes of a `bench.tree.Tree`, whose `Site` it is.  They exist from `with` to its end."""

    def __init__(self, names: list[str], rate_mbit: int) -> None:
        self._index = {name: number for number, name in enumerate([HEAD, *names])}
        self._rate = f"{rate_mbit}mbit"
        self._switch = f"gpb{os.getpid()}"
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Lab:
        if (reason := impossible()) is not None:
            raise NoLab(reason)
        try:
            _do("ip", "netns", "add", self._switch)
            _do("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
            _do("ip", "-n", self._switch, "link", "set", "br0", "up")
            for name in self._index:
                self._boot(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders.values():
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        subprocess.run(["ip", "netns", "del", self._switch], stderr=subprocess.DEVNULL, check=False)

    def address(self, name: str) -> str:
        index = self._index[name]
        return f"{_NETWORK}.{index // _HOSTS_PER_NET}.{index % _HOSTS_PER_NET + 1}"

    def entry(self, name: str) -> list[str]:
        return ["nsenter", "-t", str(self._holders[name].pid), "-n", "-u", "--"]

    def traffic(self) -> dict[str, Traffic]:
        """By host, since the lab is up; counted at the switch's ends, where sent and received change sides."""
        found = {}
        for port in msgspec.json.decode(_do("ip", "-n", self._switch, "-j", "-s", "link")):
            if port["ifname"].startswith("p"):
                found[int(port["ifname"][1:])] = port["stats64"]
        return {
            name: Traffic(found[index]["rx"]["bytes"], found[index]["tx"]["bytes"])
            for name, index in self._index.items()
        }

    def _boot(self, name: str) -> None:
        """A process that holds the host's namespaces as long as it lives, and a link into them."""
        host = HEAD if name == HEAD else "node" + name.replace("/", "-")
        # It ends with its standard input, so with us, however we end.
        script = 'hostname "$0" && ip link set lo up && echo up && exec cat'
        holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", script, host],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._holders[name] = holder
        assert holder.stdout is not None
        if holder.stdout.readline() != b"up\n":
            raise LabFailed(f"host {host} did not come up")
        port = f"p{self._index[name]}"
        inside = ["nsenter", "-t", str(holder.pid), "-n", "--"]
        _do("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
            str(holder.pid))  # fmt: skip
        _do("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
        _do(*inside, "ip", "addr", "add", f"{self.address(name)}/16", "dev", "eth0")
        _do(*inside, "ip", "link", "set", "eth0", "up")
        shape = ("root", "tbf", "rate", self._rate, "burst", BURST, "latency", f"{QUEUE_MS}ms")
        _do(*inside, "tc", "qdisc", "add", "dev", "eth0", *shape)
        _do("tc", "-n", self._switch, "qdisc", "add", "dev", port, *shape)


def impossible() -> str | None:
    """Why there can be no lab here, or None."""
    if os.geteuid() != 0:
        return "network namespaces with limited links need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (Debian: iproute2, util-linux)" if missing else None


def _do(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise LabFailed(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    return done.stdout
