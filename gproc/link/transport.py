"""TLS on a TCP connection, as an asyncio transport that the kernel wakes seldom.

At 50 Mbit/s the kernel delivers some 6 kB at a time.  With asyncio's own TLS, the work for each of these deliveries is
most of what a node spends on a transfer.  Here the protocol says how many bytes it is waiting for, and the kernel wakes
the process when they are here (SO_RCVLOWAT, socket(7)).  Bytes are decrypted straight into the protocol's buffer and
encrypted straight out of the sender's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, Protocol, cast

HANDSHAKE_S: Final = 10.0
"""A peer that has not identified itself within this time is dropped."""

LINGER_S: Final = 2.0
"""How long a closed connection waits until the other end closes.  If the kernel closes a connection with unread bytes,
it resets it, and then the peer loses what it has not read yet."""

RECEIVE_BYTES: Final = 144 << 10
"""A full piece of a chunk in its frame and its TLS records, and some more: with less, each takes two system calls.
With twice as much, `gproc cp` took a tenth longer, probably because that leaves the second-level cache."""

SLICE_BYTES: Final = 64 << 10
"""Bytes that are encrypted at a time: OpenSSL keeps a buffer of this size for each connection."""

RECORD_HEADER_BYTES: Final = 5
SEND_VECTORS: Final = 32
LEAST_WAIT_BYTES: Final = 4 << 10
"""Below this, the wakes that are saved cost less than the system call that saves them."""

_received = bytearray(RECEIVE_BYTES)
"""Shared by all connections: received bytes go to OpenSSL at once."""


class Reader(Protocol):
    """An asyncio.BufferedProtocol that knows how many bytes it is waiting for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def get_buffer(self, sizehint: int) -> memoryview: ...

    def buffer_updated(self, nbytes: int) -> None: ...

    def connection_lost(self, error: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def missing(self) -> int:
        """Bytes that must come before the reader can go on; 0 if it can use any byte."""


class Records:
    """The position in a stream of TLS records: RFC 8446 5.1.  OpenSSL does not tell how much of a record it holds."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of the incomplete record."""
        self._header = b""
        self._record_bytes = 0

    def follow(self, received: memoryview) -> None:
        place, size = 0, len(received)
        while place < size:
            if not self.held and size - place >= RECORD_HEADER_BYTES:
                record_bytes = RECORD_HEADER_BYTES + (received[place + 3] << 8 | received[place + 4])
                if record_bytes <= size - place:  # most are whole
                    place += record_bytes
                    continue
            if not self._record_bytes:
                needed = RECORD_HEADER_BYTES - len(self._header)
                self._header += received[place : place + needed]
                place += needed
                self.held = len(self._header)
                if self.held == RECORD_HEADER_BYTES:
                    self._record_bytes = RECORD_HEADER_BYTES + int.from_bytes(self._header[-2:], "big")
                    self._header = b""
            else:
                step = min(self._record_bytes - self.held, size - place)
                place += step
                self.held += step
            if self.held == self._record_bytes:
                self.held = self._record_bytes = 0


class TlsTransport(asyncio.Transport):
    """One secured connection, made by `secure`.  It closes when the other end has closed."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, reader: Reader, server_side: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        super().__init__({"socket": connection, "ssl_object": self._tls})
        self._socket = connection
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._high_bytes = SLICE_BYTES
        self._sending = False
        self._reading = True
        self._paused = False
        self._low_bytes = 1
        self._records = Records()
        self._peer_closed = False
        self._closing = False
        self._over = False
        self._lingering: asyncio.TimerHandle | None = None

    async def handshake(self) -> None:
        """Raises: OSError (ssl.SSLError is one)."""
        while not await self._handshake_step():
            data = await self._loop.sock_recv(self._socket, SLICE_BYTES)
            if not data:
                raise ConnectionResetError
            self._take(memoryview(data))

    async def _handshake_step(self) -> bool:
        """Advance the handshake as far as possible.  Returns whether it is complete."""
        try:
            self._tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLError:
            with contextlib.suppress(OSError):  # the alert that tells the other end why
                await self._loop.sock_sendall(self._socket, self._outgoing.read())
            raise
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._socket, self._outgoing.read())
        return done

    def begin(self) -> None:
        """Deliver received bytes to the reader from now on; some may have come with the end of the handshake."""
        self._reader.connection_made(self)
        self._loop.add_reader(self._socket, self._on_readable)
        self._read()

    # asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        if self._closing or self._over:
            return
        for data in list_of_data:
            view = memoryview(data)
            for begin in range(0, len(view), SLICE_BYTES):
                self._encrypt(view[begin : begin + SLICE_BYTES])
        if self._sending:
            self._signal_pace()
        else:
            self._send()

    def close(self) -> None:
        """End the connection after everything that was written has been sent."""
        if self._closing or self._over:
            return
        self.resume_reading()  # to notice that the other end closes
        self._closing = True
        if not self._unsent:
            self._say_goodbye()

    def abort(self) -> None:
        self._end(None)

    def pause_reading(self) -> None:
        """Deliver nothing more, and leave what comes to the kernel, until `resume_reading`."""
        if self._reading and not (self._closing or self._over):
            self._reading = False
            self._loop.remove_reader(self._socket)

    def resume_reading(self) -> None:
        """Go on soon, with what is decrypted already."""
        if not self._reading:
            self._reading = True
            if not self._over:
                self._loop.add_reader(self._socket, self._on_readable)
                self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._reading and not (self._closing or self._over):
            self._read()

    def is_closing(self) -> bool:
        return self._closing or self._over

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high_bytes = SLICE_BYTES if high is None else high

    def get_write_buffer_size(self) -> int:
        return self._unsent_bytes

    # Receiving

    def _on_readable(self) -> None:
        try:
            count = self._socket.recv_into(_received)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if self._closing:
            if not count:
                self._end(None)
            return
        self._peer_closed = not count
        self._take(memoryview(_received)[:count])
        self._read()

    def _read(self) -> None:
        """Give the reader all bytes that are here."""
        try:
            while self._reading and not self._over and not self._closing:
                buffer = self._reader.get_buffer(-1)
                filled = self._decrypt(buffer)
                if filled:
                    self._reader.buffer_updated(filled)
                if filled < len(buffer):
                    break
        except ssl.SSLError as error:
            self._end(error)
        except BaseException as error:
            self._end(error if isinstance(error, Exception) else None)
            raise
        if self._peer_closed and self._reading and not self._over:
            self.close()
            self._end(None)
        if self._over or self._closing:
            return
        if self._outgoing.pending:  # OpenSSL answered a key update
            self._queue(self._outgoing.read())
            self._send()
        self._wait_for(self._reader.missing() - self._records.held)

    def _take(self, received: memoryview) -> None:
        self._incoming.write(received)
        self._records.follow(received)

    def _decrypt(self, buffer: memoryview) -> int:
        """Decrypt into the buffer.  Returns how many bytes there were for it."""
        filled, size, read = 0, len(buffer), self._tls.read
        try:
            while filled < size:
                count = cast(int, read(size - filled, cast(bytearray, buffer[filled:])))
                if not count:
                    self._peer_closed = True
                    break
                filled += count
        except ssl.SSLWantReadError:
            pass
        return filled

    def _wait_for(self, count: int) -> None:
        """Be woken when this many bytes are here.  They will come, because ciphertext is longer than plaintext."""
        low_bytes = min(count, RECEIVE_BYTES) if count >= LEAST_WAIT_BYTES else 1
        if low_bytes != self._low_bytes:
            self._low_bytes = low_bytes
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_bytes)

    # Sending

    def _encrypt(self, plain: memoryview) -> None:
        while plain:
            plain = plain[self._tls.write(plain) :]
        self._queue(self._outgoing.read())

    def _queue(self, cipher: bytes) -> None:
        self._unsent.append(memoryview(cipher))
        self._unsent_bytes += len(cipher)

    def _send(self) -> None:
        """Give the kernel what it takes; the event loop calls this again when it takes more."""
        if self._over:
            return
        try:
            count = self._socket.sendmsg(list(islice(self._unsent, SEND_VECTORS)))
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._end(error)
            return
        self._unsent_bytes -= count
        while self._unsent and count >= len(self._unsent[0]):
            count -= len(self._unsent.popleft())
        if count:
            self._unsent[0] = self._unsent[0][count:]
        if bool(self._unsent) != self._sending:
            self._sending = bool(self._unsent)
            if self._sending:
                self._loop.add_writer(self._socket, self._send)
            else:
                self._loop.remove_writer(self._socket)
        self._signal_pace()
        if self._closing and not self._unsent:
            self._say_goodbye()

    def _signal_pace(self) -> None:
        """Tell the protocol when to stop writing and when to go on."""
        if self._unsent_bytes > self._high_bytes and not self._paused:
            self._paused = True
            self._reader.pause_writing()
        elif self._unsent_bytes <= self._high_bytes // 4 and self._paused:
            self._paused = False
            self._reader.resume_writing()

    # Ending

    def _say_goodbye(self) -> None:
        """Tell the other end that nothing more will come, and wait until it closes."""
        with contextlib.suppress(ssl.SSLError):  # OpenSSL waits for the other end's close_notify, which may not come
            self._tls.unwrap()
        try:
            self._socket.send(self._outgoing.read())
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(None)
            return
        self._wait_for(0)
        self._lingering = self._loop.call_later(LINGER_S, self._end, None)

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._unsent.clear()
        if self._lingering is not None:
            self._lingering.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        try:
            self._reader.connection_lost(error)
        finally:
            self._socket.close()


async def secure(connection: socket.socket, context: ssl.SSLContext, reader: Reader, *, server_side: bool) -> None:
    """Perform the TLS handshake, and attach `reader` to the connection, which must not be blocking.

    Raises: OSError (ssl.SSLError and TimeoutError are ones); the connection is closed then.
    """
    transport = TlsTransport(connection, context, reader, server_side)
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await transport.handshake()
    except TimeoutError:
        connection.close()
        raise TimeoutError(f"no TLS handshake for {HANDSHAKE_S:.0f} s") from None
    except BaseException:
        connection.close()
        raise
    transport.begin()
