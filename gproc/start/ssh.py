"""Bytes to a command on a host and back, over ssh: by asyncssh, or by a command of the user's own.

Only this module, `login` and `user_config` import asyncssh.  The user's ssh_config, agent, keys and known_hosts count
as for ssh(1).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import logging
import os
import random
import re
import shlex
import socket
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec

from gproc.environment import expanded, settle_home
from gproc.errors import GprocError
from gproc.shown import reason_of
from gproc.start.asking import Asker

if TYPE_CHECKING:
    import asyncssh

    from gproc.start.login import HostKeys, Login

PIECE_BYTES: Final = 256 << 10
LINE_BYTES_MAX: Final = 64 << 10
STDERR_BYTES_MAX: Final = 16 << 10
"""The end of what a node said on stderr is kept: its last words say why."""


class SshFailed(GprocError):
    """Why a host cannot be reached, or a channel ended, in ssh's or the kernel's own words."""


class Ways(msgspec.Struct, frozen=True):
    """How hosts are reached.  command: used instead of asyncssh, before the host and its command line; "" for none.

    attended: the command stays as long as the slave that it has started.
    asker: asks the person at the terminal for passwords.
    """

    command: str = ""
    accept_new_host_keys: bool = False
    connect_timeout_s: float = 10.0
    attended: bool = False
    asker: Asker | None = None


class Channel(Protocol):
    """A command that runs on a host.  peer, own: addresses of both ends, "" if they are not known.

    goes_on: it is not ended when the channel is closed.
    """

    peer: str
    own: str
    goes_on: bool

    async def write(self, data: bytes) -> None:
        """Raises: SshFailed."""

    async def line(self) -> bytes:
        """The next line of standard output; empty at its end.  Raises: SshFailed."""

    def said(self) -> str:
        """The last line of its stderr."""

    async def status(self) -> int | None:
        """The exit status, when its output has ended; None if that does not come."""

    async def close(self, *, at_once: bool = False) -> None:
        """Its standard input ends, and it has a moment to end, unless it is to be closed at once."""


CACHE_BYTES_MAX: Final = 64 << 20
"""The limit of ld.so.cache: 70 KB for 1,000 libraries."""

LOGIN_S: Final = 600.0
"""For a person to type; servers wait two minutes."""

AGAIN_S: Final = (0.2, 1.0)
"""Between attempts at a server that closes the connection before the login, as sshd does with some of many at a time
(MaxStartups): a jump host has the logins of all hosts.
"""

CROWDED: Final = ", each time before the login: has its sshd too many at a time (MaxStartups)? See --parallel"

UNASKED: Final = "; it takes passwords, but nobody is asked for one here: this is no terminal"

STATUS_S: Final = 1.0
"""It comes with the end of the output."""

CLOSING_S: Final = 3.0
"""For a bootstrap to end a slave that it gave up; then the connection is closed all the same."""


def import_asyncssh() -> None:
    """Import it, or nothing if that was done.

    asyncssh looks for two libraries by `ctypes.util.find_library`, which asks ldconfig, gcc and ld: 28 processes if a
    compiler is there.  What the dynamic linker can find is in its cache.

    Raises: SshFailed for a user without a home.
    """
    if not settle_home():
        raise SshFailed(f"uid {os.geteuid()} has no home directory, and so no ~/.ssh: set HOME")
    if "asyncssh" not in sys.modules:
        _import_asyncssh()
    from gproc.start.user_config import teach

    teach()


def _import_asyncssh() -> None:
    # It warns of a child that it has reaped itself, as a ProxyCommand that ended.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # For the whole process: no other thread may import anything meanwhile.
    usual = ctypes.util.find_library
    ctypes.util.find_library = _in_linkers_cache
    try:
        import asyncssh  # noqa: F401
    finally:
        ctypes.util.find_library = usual


def _in_linkers_cache(name: str) -> str | None:
    """The file name of a library `lib{name}.so`, with its version; None if it is not known."""
    try:
        with open("/etc/ld.so.cache", "rb") as file:
            found = re.search(rb"\0(lib%s\.so[.0-9]*)\0" % re.escape(name.encode()), file.read(CACHE_BYTES_MAX))
    except OSError:
        return None
    return None if found is None else found[1].decode()


class Closing:
    """Channels that are being closed, while what came of their hosts is told already.

    Each has some seconds for that: a node must be told to end what it began.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, channel: Channel, *, at_once: bool = False) -> None:
        self._tasks.add(asyncio.create_task(channel.close(at_once=at_once)))

    async def ended(self) -> None:
        """Wait for all."""
        for task in self._tasks:
            with contextlib.suppress(Exception):  # the result of the host is known, and the channel is gone
                await asyncio.shield(task)


async def open_channel(host: str, command: str, ways: Ways) -> tuple[Channel, float]:
    """A command on a host, and the seconds of the connect timeout that are left for its first answer.

    Raises: SshFailed, within the connect timeout.
    """
    if ways.command:
        return await _Subprocess.open(host, command, ways), ways.connect_timeout_s
    return await _Asyncssh.open(host, command, ways)


def last_line(text: bytes) -> str:
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


class _Conversation(ABC):
    """What both ways have in common: a process with asyncio's streams.

    broken: the errors that its streams raise when the connection is lost.
    """

    def __init__(self, process: Any, peer: str, own: str, broken: tuple[type[Exception], ...]) -> None:
        self.peer = peer
        self.own = own
        self.goes_on = False
        self._process = process
        self._broken = broken
        self._stderr = b""
        self._collecting = asyncio.create_task(self._collect())

    async def write(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), PIECE_BYTES):
                self._process.stdin.write(data[start : start + PIECE_BYTES])
                await self._process.stdin.drain()
        except self._broken as error:
            raise SshFailed(self.said() or "the connection was closed") from error

    async def line(self) -> bytes:
        try:
            line = await self._process.stdout.readline()
        except ValueError as error:
            raise SshFailed("the host answers without an end of line") from error
        except self._broken as error:
            raise SshFailed(self.said() or reason_of(error)) from error
        if not line:
            await asyncio.wait({self._collecting}, timeout=CLOSING_S)
        return bytes(line)

    def said(self) -> str:
        return last_line(self._stderr)

    @abstractmethod
    async def status(self) -> int | None: ...

    async def close(self, *, at_once: bool = False) -> None:
        await self._close(at_once=at_once)
        self._collecting.cancel()

    @abstractmethod
    async def _close(self, *, at_once: bool) -> None: ...

    async def _collect(self) -> None:
        with contextlib.suppress(*self._broken):
            while data := await self._process.stderr.read(4096):
                self._stderr = (self._stderr + bytes(data))[-STDERR_BYTES_MAX:]


class _Subprocess(_Conversation):
    """One run of the user's own ssh.  Whether it has logged in is known only when the command answers."""

    @classmethod
    async def open(cls, host: str, command: str, ways: Ways) -> _Subprocess:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(ways.command), host, command, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES_MAX,
                start_new_session=True,  # Ctrl-C is ours: the node is told to end what was begun
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise SshFailed(f"{ways.command}: {reason_of(error)}") from error
        return cls(process, "", "", (OSError,))

    async def status(self) -> int | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATUS_S):
                return int(await self._process.wait())
        return None

    async def _close(self, *, at_once: bool) -> None:
        self._process.stdin.close()
        if self.goes_on:
            # Its children have its pipes, so wait() would wait for them; this closes them here, and kills it alone.
            self._process._transport.close()
            await self._process.wait()
            return
        gently = () if at_once else (lambda: None,)
        for end in (*gently, self._process.terminate):
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                end()
                async with asyncio.timeout(CLOSING_S):
                    await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class _Asyncssh(_Conversation):
    def __init__(self, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]) -> None:
        import asyncssh

        peer, own = (_address(connection.get_extra_info(name)) for name in ("peername", "sockname"))
        super().__init__(process, peer, own, (OSError, asyncssh.Error))
        self._connection = connection

    @classmethod
    async def open(cls, host: str, command: str, ways: Ways) -> tuple[_Asyncssh, float]:
        import_asyncssh()
        import asyncssh

        from gproc.start.login import HostKeys, Login, config_of
        from gproc.start.user_config import file_for_new_hosts, keys_not_there

        user, _, name = host.rpartition("@")
        options: dict[str, Any] = {"username": user} if user else {}
        keys = HostKeys(ways.accept_new_host_keys)
        login: Login | None = None
        lost: Exception | None = None
        config: asyncssh.SSHClientConnectionOptions | None = None

        def begun() -> Login:
            nonlocal login
            login = Login(name, keys, ways.asker or Asker(), scope)
            return login

        try:
            async with asyncio.timeout(ways.connect_timeout_s) as scope:
                config = await config_of(name, user)
                keys.known, keys.noted_in = cast(list[str], config.known_hosts), file_for_new_hosts(config)
                while True:
                    try:
                        connection = await asyncssh.connect(
                            name,
                            client_factory=begun,
                            login_timeout=LOGIN_S,
                            # Half the time of the usual cipher in Python: the packets are OpenSSL's alone.
                            encryption_algs="^aes128-gcm@openssh.com",
                            **options,
                        )
                        break
                    except (asyncssh.ConnectionLost, ConnectionResetError) as error:
                        lost = error
                    await asyncio.sleep(random.uniform(*AGAIN_S))
                process = await connection.create_process(command, encoding=None)
                ends_s = scope.when()
        except RecursionError as error:
            raise SshFailed("its ProxyJump in ssh_config leads to itself") from error
        except (OSError, asyncssh.Error, TimeoutError, ValueError) as error:
            if isinstance(error, TimeoutError) and lost is not None:
                raise SshFailed(f"{_words(lost, keys, ways)}{CROWDED}{_detour(config)}") from lost
            refused = isinstance(error, asyncssh.PermissionDenied)
            unasked = refused and login is not None and login.unasked
            # In a thread: a home of NFS may be slow.
            lacking = await asyncio.to_thread(keys_not_there, config) if refused and config is not None else []
            told = _words(error, keys, ways) + (UNASKED if unasked else _detour(config))
            raise SshFailed(told + (f"; no such key: {', '.join(lacking)}" if lacking else "")) from error
        left_s = ways.connect_timeout_s if ends_s is None else ends_s - asyncio.get_running_loop().time()
        return cls(connection, process), max(left_s, 0.0)

    async def status(self) -> int | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATUS_S):
                await self._process.wait_closed()
        status: int | None = self._process.exit_status
        return status

    async def _close(self, *, at_once: bool) -> None:
        if at_once:
            self._connection.abort()
        else:
            self._process.stdin.write_eof()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSING_S):
                    await self._process.wait_closed()
        self._connection.close()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSING_S):
                await self._connection.wait_closed()


def _address(name: object) -> str:
    return str(name[0]) if isinstance(name, tuple) and name else ""


def _detour(config: asyncssh.SSHClientConnectionOptions | None) -> str:
    """That ssh_config has the host reached by another one, where the error may be.  config: None if it was not read."""
    if config is None:
        return ""
    if config.proxy_command:
        return f"; by the ProxyCommand {shlex.join(map(str, config.proxy_command))}"
    return f"; by way of {config.tunnel} (ProxyJump)" if config.tunnel else ""


def _words(error: BaseException, keys: HostKeys, ways: Ways) -> str:
    import asyncssh

    match error:
        case TimeoutError():
            return f"no answer within {ways.connect_timeout_s:g} s (ssh's connection and login)"
        case asyncssh.HostKeyNotVerifiable():
            if keys.unread:
                return f"its host key cannot be compared with known_hosts: {keys.unread}"
            if keys.differs:
                return "its host key is another one than known_hosts has: if that is right, ssh-keygen -R it"
            return "its host key is not in known_hosts: log in by ssh once, or use --accept-new-host-keys"
        case asyncssh.Error():
            return error.reason.rstrip(".") or type(error).__name__
        case socket.gaierror():
            return f"{error.strerror}"
        case OSError(errno=int(number), filename=str(path)):
            told = f"{path}: {os.strerror(number)}"
            is_known = path in map(expanded, keys.known)
            return f"its host key cannot be compared with known_hosts: {told}" if is_known else told
        case OSError(errno=int(number)):
            return os.strerror(number)  # asyncio's own text has the address once more
        case ValueError():  # ssh_config or a key, whose reader knows less than ssh(1)
            return f"{error}: gproc's own ssh cannot use that; --ssh-command ssh takes yours"
        case _:
            return reason_of(error)
