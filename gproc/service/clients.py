"""The master's Unix socket and who is connected to it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING, Final, Protocol, cast

from gproc.errors import GprocError, LinkLost, PeerError, TrustError
from gproc.link.connection import Link, Receiver
from gproc.link.transport import HANDSHAKE_S
from gproc.trust.caller import Caller, caller_of
from gproc.wire import frames, messages
from gproc.wire.messages import Submit, TreeState

if TYPE_CHECKING:
    from gproc.relay.relayed_job import RelayedJob

log = logging.getLogger("gproc")

MAX_SOCKET_PATH_BYTES: Final = 107
"""sun_path has 108 with its final zero: unix(7)."""


class JobService(Protocol):
    """Who serves clients: the master."""

    def submit(self, client: Client, caller: Caller, request: Submit) -> None: ...

    def withdraw(self, client: Client) -> None: ...

    def unavailable(self, client: Client, bundle: bytes, reason: str) -> None: ...

    def piece(self, client: Client, piece: frames.Piece) -> None: ...

    async def inquire(self) -> TreeState: ...


class Client(Receiver):
    """One connection of a `gproc e` or `gproc i`.  `jobs` are those it started and that still run."""

    def __init__(self, service: JobService) -> None:
        self.jobs: dict[int, RelayedJob] = {}
        self.spoken = asyncio.Event()
        self.link = Link(None, self)
        self._service = service
        self._caller: Caller | None = None
        self._answering: asyncio.Task[None] | None = None

    async def greet(self) -> None:
        """See that it says within HANDSHAKE_S what it wants, or drop it."""
        try:
            await self.link.opened()
            if self.link.channel != frames.CHANNEL_CLIENT:
                raise PeerError(f"it opened channel {self.link.channel}")
            async with asyncio.timeout(HANDSHAKE_S):
                await self.spoken.wait()
        except TimeoutError:
            half = "half a frame and then nothing" if self.link.waiting else "nothing"
            self.link.abort(f"it sent {half} for {HANDSHAKE_S:.0f} s")
        except (LinkLost, PeerError) as error:
            log.warning("refused a client: %s", error)
            self.link.abort(str(error))

    def on_message(self, link: Link, message: messages.AnyMessage) -> None:
        match message:
            case Submit():
                try:
                    caller = caller_of(cast(socket.socket, link.extra("socket")))
                except TrustError as error:
                    raise PeerError(str(error)) from error
                self._service.submit(self, caller, message)
            case messages.SignalJob(number, signum):
                if (relayed := self.jobs.get(number)) is not None:
                    relayed.signal(signum)
            case messages.Resize(number, terminal_size):
                if (relayed := self.jobs.get(number)) is not None:
                    relayed.resize(terminal_size)
            case messages.Credit(number, stream, size):
                if (relayed := self.jobs.get(number)) is not None:
                    relayed.credit_from_upstream(stream, size)
            case messages.Unavailable(bundle, _, reason):
                self._service.unavailable(self, bundle, reason)
            case messages.Inquire():
                self._answering = asyncio.create_task(self._answer())
            case _:
                raise PeerError(f"{type(message).__name__} from a client")
        self.spoken.set()

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, data: memoryview) -> None:
        if stream != frames.STDIN:
            raise PeerError("output from a client")
        if (relayed := self.jobs.get(job)) is not None:
            relayed.stdin(bytes(data))

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        self._service.piece(self, piece)

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.spoken.is_set():
            log.warning("refused a client: %s", reason)
            self.spoken.set()
        self._service.withdraw(self)

    async def _answer(self) -> None:
        self.link.send(await self._service.inquire())


class Clients:
    """The Unix socket: made for everybody where the master is root, for its own user where it is not."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._server: asyncio.Server | None = None
        self._place: tuple[str, int, int] | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def listen(self, path: str) -> None:
        """Raises: GprocError saying what is in the way."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        clear_the_way(path)
        # A socket that everybody may open for a moment has been opened: so the mode comes with it.
        mask = os.umask(0o111 if os.geteuid() == 0 else 0o177)
        try:
            listener.bind(path)
        except OSError as error:
            listener.close()
            raise GprocError(f"cannot make the socket {path}: {error.strerror}; choose another by --socket") from error
        finally:
            os.umask(mask)
        info = os.stat(path)
        self._place = (path, info.st_dev, info.st_ino)
        self._server = await asyncio.get_running_loop().create_unix_server(self._client, sock=listener, backlog=256)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._place is not None:
            path, device, inode = self._place
            with contextlib.suppress(OSError):
                info = os.stat(path)
                if (info.st_dev, info.st_ino) == (device, inode):
                    os.unlink(path)

    def _client(self) -> Link:
        client = Client(self._service)
        task = asyncio.ensure_future(client.greet())
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        return client.link


def clear_the_way(path: str) -> None:
    """Remove a dead master's socket.  Raises: GprocError where a live one, or something else, is there."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise GprocError(
            f"the socket's path has {len(os.fsencode(path))} bytes, more than the {MAX_SOCKET_PATH_BYTES} that the "
            f"kernel takes: choose a shorter one with --socket"
        )
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise GprocError(f"cannot make the socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(info.st_mode):
        raise GprocError(f"{path} is there and is no socket: remove it, or choose another with --socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
            raise GprocError(f"cannot use the socket {path}: {error.strerror}") from error
    else:
        raise GprocError(f"a master is already listening at {path}")
    finally:
        probe.close()
    try:
        os.unlink(path)
    except OSError as error:
        raise GprocError(f"cannot remove the dead socket {path} of uid {info.st_uid}: {error.strerror}") from error
