"""The sockets that clients dial: made here, or handed over by systemd."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from gproc.adapters.gfork.settings import ServiceSettings
from gproc.errors import GprocError, UsageError
from gproc.shown import reason_of

_BACKLOG: Final = 1024
_FIRST_PASSED: Final = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""


class CannotListen(GprocError):
    """The port is taken, or the address is not this machine's."""


def passed_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd passed on, as sd_listen_fds(3) has it.  Takes its variables out of `environ`."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for fd in range(_FIRST_PASSED, _FIRST_PASSED + int(count)):
        try:
            each = socket.socket(fileno=fd)
        except OSError as error:
            raise UsageError(f"descriptor {fd}, which LISTEN_FDS names, is no socket: {reason_of(error)}") from error
        if each.type != socket.SOCK_STREAM or not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UsageError(f"descriptor {fd}, which LISTEN_FDS names, does not listen for streams")
        each.setblocking(False)
        os.set_inheritable(fd, False)
        sockets.append(each)
    return sockets


def listen(settings: ServiceSettings) -> list[socket.socket]:
    """One socket for all addresses, IPv4 and IPv6, or for each that `bind` means.  Raises: CannotListen, UsageError."""
    port, addresses = addresses_of(settings)
    if settings.bind is None:
        return [listen_everywhere(port)]
    sockets: list[socket.socket] = []
    for family, address in addresses:
        where = (address[0], port_number(sockets[0]) if sockets and not port else port, *address[2:])
        sockets.append(_opened(family, where))
    return sockets


def addresses_of(settings: ServiceSettings) -> tuple[int, list[tuple[socket.AddressFamily, tuple[Any, ...]]]]:
    """The port, and what `bind` means; none if it means all.  Raises: UsageError."""
    port = port_of(settings)
    if settings.bind is None:
        return port, []
    try:
        found = socket.getaddrinfo(settings.bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"bind = {settings.bind}: {reason_of(error)}") from error
    return port, list(dict.fromkeys((info[0], info[4]) for info in found))


def listen_everywhere(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6, if this machine has both.  Raises: CannotListen."""
    if socket.has_dualstack_ipv6():
        try:
            return _listener(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # IPv6 is switched off
                raise CannotListen(f"port {port}: {reason_of(error)}") from error
    return _opened(socket.AF_INET, ("0.0.0.0", port))


def port_of(settings: ServiceSettings) -> int:
    """Without a port in the file, that of the service's name in /etc/services; without one there, any (0)."""
    name = settings.name if settings.port is None else settings.port
    if isinstance(name, int):
        return name
    try:
        return socket.getservbyname(name, "tcp")
    except (OSError, UnicodeError) as error:
        if settings.port is None:
            return 0
        raise UsageError(f"port = {name}: there is no such service in /etc/services; write a number") from error


def port_number(listener: socket.socket) -> int:
    return int(listener.getsockname()[1]) if listener.family != socket.AF_UNIX else 0


def shown_address(address: str) -> str:
    """A client's address: of IPv4 as usual, and not as an IPv6 socket says it."""
    return address.removeprefix("::ffff:") if "." in address else address


def contact_of(listener: socket.socket, environ: Mapping[str, str]) -> str:
    """HOST:PORT by which others reach this socket; for all addresses this machine's name, or GLOBUS_HOSTNAME."""
    if listener.family == socket.AF_UNIX:
        return str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    if host in ("::", "0.0.0.0"):
        host = environ.get("GLOBUS_HOSTNAME") or socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _opened(family: int, address: tuple[object, ...]) -> socket.socket:
    try:
        return _listener(family, address)
    except OSError as error:
        raise CannotListen(f"{address[0]}, port {address[1]}: {reason_of(error)}") from error


def _listener(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
