"""Locale slurm: the nodes of the Slurm allocation in which gproc runs (salloc, sbatch).

The nodes are those of `SLURM_JOB_NODELIST`, numbered from 1.  The racks are the leaf switches, or the blocks, of
topology.conf, if it is there; else 32 nodes each, or more if there would be more than 32 racks.  The first node of a
rack is its rack master, and its other nodes are the children of that one.  If there is one rack only, the tree is flat.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Final

import msgspec

from gproc.errors import GprocError, LocaleError
from gproc.locales import NodeAddress, Options, Parent, Placement, Role, check_number
from gproc.naming.hostlist import expand
from gproc.shown import quoted_text

RACK: Final = 32

TOPOLOGY_BYTES_MAX: Final = 4 << 20

_PLACES: Final = ("/etc/slurm", "/run/slurm/conf", "/etc/slurm-llnl")
"""Where slurm.conf and topology.conf are, if `SLURM_CONF` does not say it."""

_UNIT: Final = re.compile(r"^\s*(?:SwitchName|BlockName)=.*\bNodes=(\S+)", re.IGNORECASE)


class _Stand(msgspec.Struct, frozen=True):
    """number: below the parent.  rack_master: the parent; "" for the master."""

    number: int
    rack_master: str


class Slurm:
    """nodes: the allocation's, in Slurm's order."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Raises: LocaleError if there is no allocation here."""
        self._environ = environ
        self.nodes = nodes_of_allocation(environ)
        if not self.nodes:
            raise LocaleError("locale slurm: there is no allocation here: use it in salloc or sbatch")
        self._stands = dict(_stands(racks_of(self.nodes, topology(environ))))

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        if role is Role.MASTER:
            return options.override(Placement(address="" if options.address is not None else self._own_address()))
        name = hostname if hostname in self._stands else hostname.partition(".")[0]
        if name not in self._stands:
            raise LocaleError(
                f"host name {quoted_text(hostname)} does not fit locale slurm: it is no node of this allocation"
            )
        stand = self._stands[name]
        if stand.rack_master:
            parent = Parent(stand.rack_master, options.cmd_port, name=stand.rack_master)
        else:
            parent = Parent(self._master(), options.cmd_port, is_master=True)
        return options.override(Placement(id=stand.number, parent=parent))

    def node(self, number: int) -> NodeAddress:
        check_number("slurm", number, highest=len(self.nodes))
        return NodeAddress(self.nodes[number - 1], "")

    def first_and_last(self) -> tuple[int, int]:
        return 1, len(self.nodes)

    def _master(self) -> str:
        """Where srun was called: there the master runs."""
        environ = self._environ
        return environ.get("SLURM_LAUNCH_NODE_IPADDR") or environ.get("SLURM_SUBMIT_HOST") or self.nodes[0]

    def _own_address(self) -> str:
        """This machine's address as the nodes see it: that on the way to a node on another machine, if there is one."""
        own = ""
        for name in self.nodes:
            there, here = _way_to(name)
            if here and not here.startswith("127.") and here != "::1":
                own = here
                if here != there:
                    break
        return own or socket.gethostname()


def nodes_of_allocation(environ: Mapping[str, str]) -> list[str]:
    """None outside of an allocation.  Raises: LocaleError."""
    listed = environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST") or ""
    if not environ.get("SLURM_JOB_ID"):
        return []
    try:
        return expand(listed)
    except GprocError as error:
        raise LocaleError(f"locale slurm: SLURM_JOB_NODELIST: {error}") from error


def topology(environ: Mapping[str, str]) -> list[list[str]]:
    """The nodes of each leaf switch or block of topology.conf; none if there is no such file."""
    configuration = environ.get("SLURM_CONF", "")
    for place in (os.path.dirname(configuration),) if configuration else _PLACES:
        with contextlib.suppress(OSError), open(os.path.join(place, "topology.conf"), encoding="utf-8") as file:
            return _units(file.read(TOPOLOGY_BYTES_MAX))
    return []


def _units(text: str) -> list[list[str]]:
    """A line that cannot be read says nothing of racks."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if (match := _UNIT.match(line.partition("#")[0])) is not None:
            with contextlib.suppress(GprocError):
                found.append(expand(match[1]))
    return found


def racks_of(nodes: Sequence[str], units: Sequence[Sequence[str]]) -> list[list[str]]:
    """The allocation's nodes by rack, in their order; a node that is in no unit is a rack of its own."""
    rack_of: dict[str, str] = {}
    for unit in units:
        for name in unit:
            rack_of.setdefault(name, f"unit {unit[0]}")
    if not any(name in rack_of for name in nodes):
        size = max(RACK, isqrt(len(nodes) - 1) + 1)
        return [list(nodes[start : start + size]) for start in range(0, len(nodes), size)]
    racks: dict[str, list[str]] = {}
    for name in nodes:
        racks.setdefault(rack_of.get(name, f"node {name}"), []).append(name)
    return list(racks.values())


def _stands(racks: Sequence[Sequence[str]]) -> Iterator[tuple[str, _Stand]]:
    if len(racks) == 1:
        yield from ((name, _Stand(number, "")) for number, name in enumerate(racks[0], 1))
        return
    for rack, (master, *others) in enumerate(racks, 1):
        yield master, _Stand(rack, "")
        yield from ((name, _Stand(number, master)) for number, name in enumerate(others, 1))


def _way_to(name: str) -> tuple[str, str]:
    """The address of a host, and that of this machine on the way there; "" if it is not known.  Nothing is sent."""
    with contextlib.suppress(OSError):
        for family, _, _, _, address in socket.getaddrinfo(name, 9, type=socket.SOCK_DGRAM):
            with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
                probe.connect(address)
                return str(address[0]), str(probe.getsockname()[0])
    return "", ""
