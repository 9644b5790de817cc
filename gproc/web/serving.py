"""Serves the application: on a Unix socket, on loopback, or by TLS with the cluster's certificate elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import re
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gproc.addresses import bracketed, own_addresses
from gproc.disk.sockets import bind_with_mode
from gproc.errors import GprocError, UsageError
from gproc.link.door import Door
from gproc.link.turns import Places
from gproc.trust.identity import load_identity

CONNECTIONS_MAX: Final = 256
"""Browsers keep up to six each; one more is told that it is too many."""

HEAD_S: Final = 10.0
"""Within so many seconds the head of a request must have come."""

SILENT_MAX: Final = 64
"""How many may let us wait for a head.  One more ends the longest wait: a browser sends within milliseconds."""

UNREAD_S: Final = 30.0
"""A client that has an answer, and reads nothing of it for so long, is gone.  A browser connects again."""

GOODBYE_S: Final = 1.0
"""How long a TLS connection that is closed waits for the other end's word.  It counts until then."""

_HOST_AND_PORT: Final = re.compile(r"(?:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^][:/\s]+))?:)?(?P<port>[0-9]{1,5})")


class Listen(msgspec.Struct, frozen=True):
    """Where to serve.  path: of a Unix socket, or "".  host: an address or name; port: 0 is any free one."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`HOST:PORT`, `[IPv6]:PORT`, `PORT`, or an absolute path.  Raises: UsageError."""
        if text.startswith("/"):
            return cls(path=text)
        found = _HOST_AND_PORT.fullmatch(text)
        if found is None or int(found["port"]) > 65535:
            raise UsageError(f"--listen {text}: HOST:PORT, PORT or the path of a Unix socket is wanted")
        return cls(found["six"] or found["host"] or "127.0.0.1", int(found["port"]))

    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def secure(self) -> bool:
        """Whether it needs TLS: without it, a process on the way could read the token."""
        return not self.path and not self.is_loopback()


def open_listener(listen: Listen) -> socket.socket:
    """Raises: GprocError if it is not possible to listen there."""
    try:
        if listen.path:
            return _unix(listen.path)
        family, kind, protocol, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except OSError as error:
        place = listen.path or bracketed(f"{listen.host}:{listen.port}")
        raise GprocError(f"cannot listen at {place}: {error.strerror}") from error


def _unix(path: str) -> socket.socket:
    """A socket that only this user may connect to.  A socket without a listener is replaced."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid() and not _answers(path):
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    bind_with_mode(listener, path, 0o600)
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def serve(app: ASGIApp, listener: socket.socket, listen: Listen, home: str, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM.  home: of the cluster's keys, for TLS.  ready: called when it answers.

    Raises: TrustError if it needs the cluster's certificate, and this machine has none.
    """
    settings = uvicorn.Config(
        app, log_config=None, log_level="error", access_log=False, server_header=False, lifespan="off",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=1, h11_max_incomplete_event_size=16384, ws="none", http=_HastyProtocol,
    )  # fmt: skip
    if listen.secure:
        name = socket.gethostname()
        identity = load_identity(home, "node", name, own_addresses(name, listen.host))
        settings.ssl_certfile, settings.ssl_keyfile = identity.certificate, identity.key
    listener.listen(CONNECTIONS_MAX)
    asyncio.run(_Server(settings, ready).serve(sockets=[listener]))


class _HastyProtocol(H11Protocol):
    """uvicorn's, which waits for ever for a first request, and counts the connection."""

    _silent: Final[dict[_HastyProtocol, asyncio.TimerHandle]] = {}
    """Connections whose first request has not come, the longest first."""

    _answered: Final[dict[_HastyProtocol, None]] = {}
    """Connections that have their answer and have asked nothing since, the longest first."""

    _unread: Final[dict[_HastyProtocol, asyncio.TimerHandle]] = {}
    """Connections whose clients do not read, the longest first."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) >= CONNECTIONS_MAX and (idle := self._answered or self._unread):
            # A client that keeps all places, even without a token, must not keep others out: a browser connects again.
            longest = next(iter(idle))
            longest._forget()
            self.connections.discard(longest)  # at once: this one's request may be here already
            longest.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self not in self._unread:
            self._unread[self] = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reads()

    def data_received(self, data: bytes) -> None:
        self._answered.pop(self, None)
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()  # a part of it has come, and uvicorn's own timer between two requests is off
        else:
            self._has_spoken()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:  # else the next request had come already
            self._answered[self] = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(UNREAD_S, self.transport.abort)  # to close it waits until its last answer is read

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        self._has_spoken()
        self._reads()
        self._answered.pop(self, None)

    def _reads(self) -> None:
        if (timer := self._unread.pop(self, None)) is not None:
            timer.cancel()

    def _await_head(self) -> None:
        if self in self._silent:
            return
        self._silent[self] = self.loop.call_later(HEAD_S, self.transport.abort)
        if len(self._silent) > SILENT_MAX:
            longest = next(iter(self._silent))
            longest._has_spoken()
            longest.transport.abort()

    def _has_spoken(self) -> None:
        if (timer := self._silent.pop(self, None)) is not None:
            timer.cancel()


class _Server(uvicorn.Server):
    """With TLS the handshakes have the bounds of first requests: uvicorn counts a connection only when its handshake is
    over, and asyncio waits a minute for that.
    """

    def __init__(self, settings: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(settings)
        self._ready = ready
        self._door: Door[str] | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """The longest first."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is None:
            await super().startup(sockets=sockets)
        else:
            await super().startup(sockets=[])
            all_come_in = Places(CONNECTIONS_MAX, CONNECTIONS_MAX)
            self._door = Door(all_come_in, lambda _: "", self._shake_hands, lambda _key, _reason: None)
            for each in sockets or ():
                self._door.open(each)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._door is not None:
            self._door.close()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # an open stream is cancelled, which is no fault
        await super().shutdown(sockets=sockets)

    async def _shake_hands(self, connection: socket.socket, _key: str) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._handshakes[task] = None
        if len(self._handshakes) > SILENT_MAX:
            longest = next(iter(self._handshakes))
            del self._handshakes[longest]
            longest.cancel()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=self.config.ssl, ssl_handshake_timeout=HEAD_S,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError:
            pass  # no request was made
        finally:
            self._handshakes.pop(task, None)

    def _protocol(self) -> _HastyProtocol:
        return _HastyProtocol(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does it, but a signal that asks us to end is no reason to be killed by it afterwards."""
        former = {signum: signal.signal(signum, self.handle_exit) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in former.items():
                signal.signal(signum, handler)
