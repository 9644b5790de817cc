"""This machine's addresses: the one to listen on, and those by which others dial it."""

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


def is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
