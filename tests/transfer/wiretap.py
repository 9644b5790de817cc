"""A TCP relay between two processes of gproc: it counts the bytes that pass, can limit their rate, and can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Final

PIECE_BYTES: Final = 64 << 10


class Wiretap:
    """Listens at `port` and passes all bytes on to `target`, another port of this machine.

    down, up: bytes from the target, and to it.  rate: the most bytes per second from the target; 0: no limit.
    """

    def __init__(self, target: int = 0, rate: float = 0) -> None:
        self.target = target
        self.down = 0
        self.up = 0
        self.rate = rate
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._changed = threading.Condition()
        self._paid_s = time.monotonic()

    def __enter__(self) -> Wiretap:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection through this wiretap."""
        with self._changed:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def passed(self, down: int, timeout_s: float = 30.0) -> None:
        """Wait until this many bytes have come from the target."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.down >= down, timeout_s), f"{self.down} bytes of {down} came"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket()
            # As on Ethernet: loopback's segments and windows are so large that the sender's buffer takes megabytes.
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PIECE_BYTES)
            try:
                far.connect(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self._changed:
                self._sockets += [near, far]
            for source, sink, is_down in ((far, near, True), (near, far, False)):
                threading.Thread(target=self._pump, args=(source, sink, is_down), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                if is_down and self.rate:
                    self._pay(len(data))
                sink.sendall(data)
                with self._changed:
                    if is_down:
                        self.down += len(data)
                    else:
                        self.up += len(data)
                    self._changed.notify_all()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _pay(self, size: int) -> None:
        """Wait as long as a link of this rate would take; all connections share it."""
        with self._changed:
            now_s = time.monotonic()
            self._paid_s = max(self._paid_s, now_s) + size / self.rate
            wait_s = self._paid_s - now_s
        threading.Event().wait(wait_s)
