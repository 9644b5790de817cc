"""Locales kane and kf: Sandia's KANE with hosts kn1, kn2, ..., as a tree of racks of 20 and as a flat network.

Node N has 10.1.(30+(N-1)//240).((N-1)%240+1): 240 hosts in each /24 from 10.1.30.0 on.
"""

from __future__ import annotations

from typing import Final

from gproc.locales import NodeAddress, Options, Parent, Placement, Role, check_number, host_number

MASTER_ADDRESS: Final = "10.1.254.254"
PREFIX: Final = "kn"
RACK: Final = 20
HOSTS_IN_SUBNET: Final = 240
FIRST_SUBNET: Final = 30

HIGHEST: Final = (256 - FIRST_SUBNET) * HOSTS_IN_SUBNET
"""The last node whose third octet fits.  No node has the master's address, because last octets end at 240."""


class Kane:
    """A tree: every 20th node is a rack master, and the 19 before it are its children."""

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        if role is Role.MASTER:
            return options.override(Placement(address=MASTER_ADDRESS))
        number = host_number("kane", hostname, prefix=PREFIX, highest=HIGHEST)
        rack, position = divmod(number, RACK)
        if position == 0:
            return options.override(_below_master(rack, number, options))
        rack_master = (rack + 1) * RACK
        parent = Parent(_address(rack_master), options.cmd_port, name=f"{PREFIX}{rack_master}")
        return options.override(Placement(id=position, address=_address(number), parent=parent))

    def node(self, number: int) -> NodeAddress:
        check_number("kane", number, highest=HIGHEST)
        return NodeAddress(f"{PREFIX}{number}", _address(number))


class Kf:
    """Flat: every node is the master's child.  Slow for many nodes, simple for few."""

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        if role is Role.MASTER:
            return options.override(Placement(address=MASTER_ADDRESS))
        number = host_number("kf", hostname, prefix=PREFIX, highest=HIGHEST)
        return options.override(_below_master(number, number, options))

    def node(self, number: int) -> NodeAddress:
        check_number("kf", number, highest=HIGHEST)
        return NodeAddress(f"{PREFIX}{number}", _address(number))


def _below_master(id_: int, number: int, options: Options) -> Placement:
    master = Parent(MASTER_ADDRESS, options.cmd_port, is_master=True)
    return Placement(id=id_, address=_address(number), parent=master)


def _address(number: int) -> str:
    subnet, host = divmod(number - 1, HOSTS_IN_SUBNET)
    return f"10.1.{FIRST_SUBNET + subnet}.{host + 1}"
