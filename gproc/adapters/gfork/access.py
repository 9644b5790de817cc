"""Which clients may connect: only_from and no_access, as xinetd has them, for addresses and networks.  Pure."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

Network = IPv4Network | IPv6Network


def network_of(word: str) -> Network:
    """An address, ADDRESS/BITS, ADDRESS/MASK, or an IPv4 address whose zeros at the end are any number (10.1.0.0).

    Raises: ValueError if it is none of these.
    """
    if "/" not in word and ":" not in word:
        parts = word.split(".")
        given = len(parts)
        while given and parts[given - 1] == "0":
            given -= 1
        if len(parts) == 4 and given < 4:
            return IPv4Network(f"{word}/{given * 8}")
    return ip_network(word)


class Access(msgspec.Struct, frozen=True):
    """only_from: None if all may."""

    only_from: tuple[Network, ...] | None = None
    no_access: tuple[Network, ...] = ()

    def allows(self, address: str) -> bool:
        """The network that fits best decides, as in xinetd.  address: of a client, as its socket says it."""
        client = ip_address(address.partition("%")[0])
        if isinstance(client, IPv6Address) and client.ipv4_mapped:
            client = client.ipv4_mapped
        refused = max((net.prefixlen for net in self.no_access if client in net), default=-1)
        if self.only_from is None:
            return refused < 0
        allowed = max((net.prefixlen for net in self.only_from if client in net), default=-1)
        return allowed > refused
