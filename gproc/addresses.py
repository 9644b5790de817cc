"""Addresses: the one to listen on, those by which others dial this machine, and the host at the other end."""

from __future__ import annotations

import socket


def listening_address(own: str) -> str:
    """The address to bind to: the loopback address if the node serves this machine alone, else every address."""
    return own if own.startswith("127.") or own == "::1" else ""


def own_addresses(name: str, address: str) -> list[str]:
    """The addresses for this machine's certificate: others may dial it by them."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    found.discard("")
    return sorted(found | ({address} if is_address(address) else set()))


def answers_for(local: str, host: str) -> bool:
    """Whether a process that listens at an address of this machine ("": at all of them) is reached by dialling this
    host."""
    return is_own(host) and (not local or local == host or not is_address(host))


def is_own(host: str) -> bool:
    """Whether a host is this machine, as far as that can be told without a name server.

    The kernel says it: towards an address of this machine it sends from that address itself.
    """
    if not is_address(host):
        return host in ("localhost", socket.gethostname())
    if host.startswith("127."):
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))  # of UDP: nothing is sent
        except OSError:
            return False
        return str(probe.getsockname()[0]) == host


def is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def bracketed(address: str) -> str:
    """ "HOST:PORT" for people and programs: an address of IPv6 in brackets, as in URLs (RFC 3986)."""
    host, _, port = address.rpartition(":")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else address


def host_of(connection: socket.socket) -> str:
    """The address at the other end of a TCP connection.  Raises: OSError if it has gone already."""
    host: str = connection.getpeername()[0]
    return host.removeprefix("::ffff:")


def neighbourhood_of(connection: socket.socket) -> str:
    """The address of the other end, for counting: of IPv6 the network, because one host has all addresses of a /64.

    Raises: OSError if it has gone already.
    """
    host = host_of(connection)
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"
