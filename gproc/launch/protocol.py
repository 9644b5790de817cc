"""The messages of slave and launcher, over a stream socket pair that only these two have.

A frame is a 4-byte big-endian length and a msgpack Struct.  Three descriptors (the program's stdin, stdout and stderr)
come with the first bytes of a `Start`.  It is a stream because argv and environment may have megabytes, and one
SOCK_SEQPACKET message has at most net.core.wmem_max (208 KiB by default).
"""

from __future__ import annotations

import array
import socket
from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, Union

import msgspec

from gproc.copy.builtin import BuiltinTask
from gproc.errors import PeerError
from gproc.request.spec import Caller, Request
from gproc.root.abilities import Abilities
from gproc.root.view import MakeDirectory, View

FRAME_BYTES_MAX: Final = 8 << 20
"""The limit is above that of execve(2) for argv and environment: 2 MiB with a stack of 8 MiB, at most 6 MiB."""

STDIO: Final = 3
"""Descriptors with each Start."""

RECEIVE_BYTES: Final = 256 << 10


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """Run a program.  process: the slave's own number for it, unique among those running.

    request: what was asked for.  caller: takes effect only if the slave is root.
    added: variables of gproc's own, as b"NAME=value": they win over the request's.
    task: the slave's own task that runs as the caller, instead of a program; None: the program runs.
    """

    process: int
    request: Request
    caller: Caller
    added: tuple[bytes, ...]
    view: View
    task: BuiltinTask | None = None

    @property
    def tells(self) -> bool:
        """Whether to find out if the program leaves files in its working directory, because that is gone with it."""
        if self.request.collect or self.task is not None:
            return False
        if self.view.kind == "plain":
            return bool(self.view.root) and self.view.cwd.startswith(self.view.root + b"/")
        return any(isinstance(each, MakeDirectory) and each.path == self.request.cwd for each in self.view.operations)

    @property
    def env(self) -> tuple[bytes, ...]:
        """All variables.  If a name comes twice, the last one counts."""
        return (*self.request.env, *self.added)


class SignalProcess(msgspec.Struct, frozen=True, array_like=True, tag="signal"):
    """Send a signal to every process of a job.  If the job is over, nothing happens."""

    process: int
    signum: int


class FindFirst(msgspec.Struct, frozen=True, array_like=True, tag="find"):
    """Which is the first process of a job?"""

    process: int


class FirstFound(msgspec.Struct, frozen=True, array_like=True, tag="first"):
    """Answers FindFirst.  A pidfd comes with it if `there`: the two have not the same numbers for processes."""

    process: int
    there: bool


class ProgramEnded(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    """The program has ended and nothing of it is left.  signal: 0 if it returned `code`.

    directory: a handle for its working directory, which the receiver closes, if its request asks for files of it; -1 if
    there is none.  A plain job's directory is then still there: the receiver removes it.
    left: whether it has written files in its working directory that are gone with it, and are no caches.
    """

    process: int
    code: int
    signal: int
    core_dumped: bool
    directory: int = -1
    left: bool = False


class SpawnFailed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The program never ran.

    stage: "view", "task", "limits", "identity", "cwd", "exec" or "launcher".
    errno: the kernel's.  At stage "exec", ENOENT means not found; EACCES and ENOEXEC mean not executable.
    """

    process: int
    stage: str
    errno: int
    message: str


LauncherRequest = Union[Start, SignalProcess, FindFirst]  # noqa: UP007 - msgspec wants it so on 3.11
JobEnd = Union[ProgramEnded, SpawnFailed]  # noqa: UP007
LauncherAnswer = Union[Abilities, ProgramEnded, SpawnFailed, FirstFound]  # noqa: UP007

_encoder = msgspec.msgpack.Encoder()


@cache
def _requests() -> msgspec.msgpack.Decoder[Any]:
    """Made for the first frame, as is the next: a slave with the static helper has no launcher, and would pay 1 ms."""
    return msgspec.msgpack.Decoder(LauncherRequest)


@cache
def _answers() -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(LauncherAnswer)


def framed(message: LauncherRequest | LauncherAnswer) -> bytes:
    """A message as a frame.  Raises: ValueError if it would be longer than FRAME_BYTES_MAX."""
    body = _encoder.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"argv and environment have {len(body)} bytes; {FRAME_BYTES_MAX} are allowed")
    return len(body).to_bytes(4) + body


def request(frame: bytes) -> LauncherRequest:
    message: LauncherRequest = _requests().decode(frame)
    return message


def answer(frame: bytes) -> LauncherAnswer:
    message: LauncherAnswer = _answers().decode(frame)
    return message


class Inbox:
    """Frames and descriptors from one end of the pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.fds: deque[int] = deque()
        """Descriptors that were received and not yet taken: STDIO of them for each Start, in order."""

    def receive(self) -> bool:
        """Read once.  Returns False at the end of the stream.  Raises: BlockingIOError if the socket does not block."""
        space = socket.CMSG_SPACE(STDIO * array.array("i").itemsize)
        data, ancillary, _flags, _address = self._sock.recvmsg(RECEIVE_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self.fds.extend(received)
        self._buffer += data
        return bool(data)

    def frames(self) -> Iterator[bytes]:
        """The complete frames that have been received, each once.  Raises: PeerError for one that is too long."""
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4])
            if length > FRAME_BYTES_MAX:
                raise PeerError(f"a launcher frame of {length} bytes; {FRAME_BYTES_MAX} are allowed")
            if len(self._buffer) < 4 + length:
                return
            frame = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield frame
