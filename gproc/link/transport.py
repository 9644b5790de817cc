"""TLS on a TCP connection, as an asyncio transport that is woken seldom.

At 50 Mbit/s the kernel hands over some 6 kB at a time, and what asyncio's own TLS does for each of them is most of what
a node spends on a transfer.  Here the protocol says how much it is waiting for, and the kernel wakes us when that is
here (SO_RCVLOWAT, socket(7)); bytes are decrypted right into the protocol's buffer and encrypted right out of the
sender's.
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
"""Silence allowed to a peer that has not yet said who it is."""

LINGER_S: Final = 2.0
"""How long a closed connection waits for the other end's close: one that is closed with bytes unread is reset, and a
reset takes from the peer what it had not read yet."""

RECEIVE_BYTES: Final = 128 << 10
SLICE_BYTES: Final = 64 << 10
"""Encrypted at a time: OpenSSL keeps a buffer of that size for each connection."""

RECORD_HEADER_BYTES: Final = 5
SEND_VECTORS: Final = 32
LEAST_WAIT_BYTES: Final = 4 << 10
"""Below this, waiting for more saves less than the call that asks for it."""

_received = bytearray(RECEIVE_BYTES)
"""For all connections: what is received is handed to OpenSSL at once."""


class Reader(Protocol):
    """What is at a connection's end: an asyncio.BufferedProtocol that knows what it is waiting for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def get_buffer(self, sizehint: int) -> memoryview: ...

    def buffer_updated(self, nbytes: int) -> None: ...

    def connection_lost(self, error: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def missing(self) -> int:
        """Bytes that must come before anything can be done with what is here; 0 where any byte is welcome."""


class Records:
    """Where in a stream of TLS records we are: RFC 8446 5.1.  OpenSSL takes half a record without telling."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of the record that has begun and is not whole."""
        self._header = b""
        self._record_bytes = 0

    def follow(self, received: memoryview) -> None:
        place = 0
        while place < len(received):
            if not self._record_bytes:
                needed = RECORD_HEADER_BYTES - len(self._header)
                self._header += received[place : place + needed]
                place += needed
                self.held = len(self._header)
                if self.held == RECORD_HEADER_BYTES:
                    self._record_bytes = RECORD_HEADER_BYTES + int.from_bytes(self._header[-2:], "big")
                    self._header = b""
            else:
                step = min(self._record_bytes - self.held, len(received) - place)
                place += step
                self.held += step
            if self.held == self._record_bytes:
                self.held = self._record_bytes = 0


class TlsTransport(asyncio.Transport):
    """One secured connection; `secure` makes it.  It reads always, and closes when the other end has closed."""

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
        self._paused = False
        self._low_bytes = 1
        self._records = Records()
        self._peer_closed = False
        self._closing = False
        self._over = False
        self._lingering: asyncio.TimerHandle | None = None

    async def handshake(self) -> None:
        """Raises: OSError, of which ssl.SSLError is a kind."""
        while not await self._step():
            data = await self._loop.sock_recv(self._socket, SLICE_BYTES)
            if not data:
                raise ConnectionResetError
            self._take(memoryview(data))

    async def _step(self) -> bool:
        """Go on with the handshake as far as possible; whether it is through."""
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
        """From now on what comes is given to the reader; some may have come with the end of the handshake."""
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
            self._hold_back()
        else:
            self._send()

    def close(self) -> None:
        """End in order: what was written arrives."""
        if self._closing or self._over:
            return
        self._closing = True
        if not self._unsent:
            self._take_leave()

    def abort(self) -> None:
        self._end(None)

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
        """Give the reader all that is here."""
        try:
            while not self._over and not self._closing:
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
        if self._peer_closed and not self._over:
            self.close()
            self._end(None)
        if self._over or self._closing:
            return
        if self._outgoing.pending:  # TLS itself answers a key update
            self._queue(self._outgoing.read())
            self._send()
        self._wait_for(self._reader.missing() - self._records.held)

    def _take(self, received: memoryview) -> None:
        self._incoming.write(received)
        self._records.follow(received)

    def _decrypt(self, buffer: memoryview) -> int:
        """Fill the buffer as far as there is something to fill it with."""
        filled = 0
        while filled < len(buffer):
            try:
                count = cast(int, self._tls.read(len(buffer) - filled, cast(bytearray, buffer[filled:])))
            except ssl.SSLWantReadError:
                break
            if not count:
                self._peer_closed = True
                break
            filled += count
        return filled

    def _wait_for(self, count: int) -> None:
        """Be woken when so many bytes are here.  Ciphertext is longer than what it hides, so they will come."""
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
        """Give the kernel what it takes; it says when it takes more."""
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
        self._hold_back()
        if self._closing and not self._unsent:
            self._take_leave()

    def _hold_back(self) -> None:
        """Tell the reader, who writes too, when to wait and when to go on."""
        if self._unsent_bytes > self._high_bytes and not self._paused:
            self._paused = True
            self._reader.pause_writing()
        elif self._unsent_bytes <= self._high_bytes // 4 and self._paused:
            self._paused = False
            self._reader.resume_writing()

    # Ending

    def _take_leave(self) -> None:
        """Tell the other end that this was all, and wait for it to hang up."""
        with contextlib.suppress(ssl.SSLError):  # it wants the other end's leave, which may come or not
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
    """Shake hands, and let `reader` have the connection, which is not blocking.

    Raises: OSError, of which ssl.SSLError and TimeoutError are kinds; the connection is closed then.
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
