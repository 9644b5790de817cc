"""The socket between a client and the master, for both drivers.  Nothing here blocks.

Trust: the master must run as root or as this user.  Nothing is sent before this is checked.
"""

from __future__ import annotations

import errno
import math
import os
import select
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gproc.client.session import ClientSession, SessionEvent
from gproc.client.silence import HELLO_S, full, silent
from gproc.errors import LinkLost, MasterSilent, NoMaster, UsageError
from gproc.shown import quoted_text
from gproc.trust.meeting import dial

SEND_VECTORS: Final = 32
"""Pieces of the outbox in one system call."""


class Connection:
    """A connected socket and its session.  path: where the master was found."""

    def __init__(self, path: str, *, waits: bool = True) -> None:
        """waits: as for `dial`.

        Raises: NoMaster if none is there; MasterSilent if it takes no connection; TrustError if it is another user's.
        """
        self.session = ClientSession()
        self._flushing = False
        self._hello_until_s = math.inf
        self._maker = os.getpid()
        try:
            self._socket, self.path = dial(path, waits=waits)
        except BlockingIOError as error:
            raise MasterSilent(full(error.filename or path)) from error
        except (OSError, ValueError) as error:
            raise _no_master(path, error) from error
        self._socket.setblocking(False)

    @property
    def hello_s(self) -> float | None:
        """How long the master's first answer may still take, in seconds; None if it came, or nothing was sent yet."""
        if self.session.greeted or self._hello_until_s == math.inf:
            return None
        return max(0.0, self._hello_until_s - time.monotonic())

    def check_hello(self) -> None:
        """For a driver that has just found nothing to read.  Raises: MasterSilent if the first answer is overdue."""
        if self.hello_s == 0.0:
            raise self.silence(HELLO_S)

    def silence(self, seconds: float) -> MasterSilent:
        """The error for a master that does not answer for so long."""
        return MasterSilent(silent(self._socket, self.path, seconds))

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that connected, which uses the same socket."""
        return os.getpid() != self._maker

    def check_process(self) -> None:
        """Raises: UsageError in a forked process: messages of both would mix, and the master would hang up on both."""
        if self.is_inherited:
            raise UsageError(f"process {self._maker}, which forked this one, has this connection: connect here again")

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    @property
    def is_flushing(self) -> bool:
        """A signal's handler has interrupted `flush`."""
        return self._flushing

    def drain(self, until_s: float) -> None:
        """Send all, if that is done before this moment of time.monotonic().  Raises: LinkLost."""
        self.flush()
        while self.session.outbox and not self._flushing and (left_s := until_s - time.monotonic()) > 0:
            room = select.poll()
            room.register(self, select.POLLOUT)
            room.poll(left_s * 1000)
            self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes now.  Raises: LinkLost; UsageError in a forked process."""
        self.check_process()
        if self._flushing:
            # We are in a signal's handler, and the interrupted call below sends our bytes too.
            return
        self._flushing = True
        outbox = self.session.outbox
        if self._hello_until_s == math.inf:
            self._hello_until_s = time.monotonic() + HELLO_S
        try:
            while outbox:
                done = self._socket.sendmsg(list(islice(outbox, SEND_VECTORS)))
                while outbox and done >= len(outbox[0]):
                    done -= len(outbox.popleft())
                if done:
                    outbox[0] = outbox[0][done:]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise LinkLost(f"the master at {self.path}: {error.strerror}") from error
            # Messages that the master sent before it ended can still be read.
            outbox.clear()
        finally:
            self._flushing = False

    def receive(self) -> Iterator[SessionEvent]:
        """Read once, and yield the events.

        Raises: LinkLost at the end, PeerError for malformed bytes; UsageError in a forked process.
        """
        self.check_process()
        try:
            count = self._socket.recv_into(self.session.space())
        except BlockingIOError:
            return
        except ConnectionResetError:  # it ended before it had read all that we sent
            count = 0
        except OSError as error:
            raise LinkLost(f"lost the master at {self.path}: {error.strerror}") from error
        if not count:
            raise LinkLost(f"the master at {self.path} has ended")
        yield from self.session.received(count)

    def close(self) -> None:
        self._socket.close()


def _no_master(path: str, error: OSError | ValueError) -> NoMaster:
    if isinstance(error, ValueError):
        return NoMaster(path, f"{quoted_text(path)} cannot be the path of a socket: {error}")
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return NoMaster(path, f"no master is listening at {path}: start one with 'gproc m'")
    if error.errno is None:
        return NoMaster(
            path, f"the socket's path {path} is too long for the kernel: choose a shorter one with --socket"
        )
    if error.errno == errno.EACCES:
        return NoMaster(path, f"the master at {path} belongs to another user: {os.strerror(error.errno)}")
    return NoMaster(path, f"cannot connect to {path}: {os.strerror(error.errno)}")
