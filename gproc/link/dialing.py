"""Dialling another node: a TLS connection to the expected node, or the reason why there is none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from gproc.addresses import bracketed
from gproc.errors import LinkLost, TrustError
from gproc.link.connection import Link, Receiver, watch_link
from gproc.link.transport import HANDSHAKE_S, secure
from gproc.shown import shown_text
from gproc.trust import tls
from gproc.trust.endpoint import Endpoint
from gproc.trust.tls import ExpectedParent

SHOWN_MAX: Final = 100
"""Characters of a malformed address that a message shows."""


async def open_link(
    expected: ExpectedParent, port: int, channel: int, receiver: Receiver[Any], endpoint: Endpoint,
    link_timeout_s: float, answered: Callable[[], None] = lambda: None,
) -> Link:  # fmt: skip
    """A TLS connection to the expected node, after the exchange of prefaces.

    answered: called if its machine takes the connection, or refuses it.

    Raises: LinkLost if the node cannot be reached; TrustError if another node answered, or one end does not trust the
    other's certificate, or it has expired or is revoked.
    """
    address = bracketed(f"{expected.host}:{port}")
    connection = await _connect(expected.host, port, answered)
    link = Link(channel, receiver)
    try:
        watch_link(connection, link_timeout_s)
        await secure(connection, endpoint.client, link, server_side=False)
    except OSError as error:
        connection.close()
        kind = TrustError if tls.is_refusal(error) else LinkLost
        raise kind(f"{address}: {tls.explain(error)}") from error
    link.peer = address
    try:
        peer = tls.peer_name(link.extra("ssl_object"))  # type: ignore[arg-type]
        tls.check_parent(peer, expected, endpoint.identity)
        if why := endpoint.vetting.objection(peer):
            raise TrustError(f"{address}: {why}")
        await link.opened()
    except BaseException:
        link.abort("not the expected node")
        raise
    return link


async def _connect(host: str, port: int, answered: Callable[[], None]) -> socket.socket:
    """A TCP connection to the first of the host's addresses that accepts one.  Raises: LinkLost."""
    loop = asyncio.get_running_loop()
    problem: OSError | None = None
    for family, kind, protocol, address in await _addresses(host, port):
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:  # no descriptor is free, or the kernel has no IPv6
            problem = error
            continue
        connection.setblocking(False)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await loop.sock_connect(connection, address)
            answered()
            return connection
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):  # TimeoutError is one
                raise
            problem = error
            if isinstance(error, ConnectionRefusedError):
                answered()
    where = bracketed(f"{host}:{port}")
    if problem is None:
        raise LinkLost(f"{host} has no address")
    if isinstance(problem, TimeoutError) and problem.errno is None:
        raise LinkLost(f"{where}: no answer for {HANDSHAKE_S:.0f} s")
    raise LinkLost(f"{where}: {os.strerror(problem.errno or 0)}") from problem


async def _addresses(host: str, port: int) -> list[tuple[int, int, int, Any]]:
    """For each, what a socket is made with, and the address.  Raises: LinkLost.

    Host and port may be what another node says of itself, or of a third one.
    """
    try:
        return await _looked_up(host, port)
    except (OverflowError, UnicodeError) as error:  # a port that no number of C holds, or a name that no DNS has
        raise LinkLost(f"{shown_text(f'{host}:{port}')[:SHOWN_MAX]} is no address") from error


async def _looked_up(host: str, port: int) -> list[tuple[int, int, int, Any]]:
    """Raises: LinkLost, OverflowError, UnicodeError."""
    try:
        # An address is not looked up, so no thread has to wait for it; and for bytes Python does not load its tables of
        # international names.  They cost a slave 2 ms of its start and 0.7 MB.
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise LinkLost(f"cannot resolve {host}: {error.strerror}") from error
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]
