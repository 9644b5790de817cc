"""A runtime that is sent in parts, and nodes that get it from each other."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gproc.native.build import compile_by
from gproc.runtime.archive import Content, archive_of
from gproc.start.script import order_to_fetch
from tests.native.bootstrap import FAILING, TOKEN, Bootstrap, header, runtimes
from tests.patience import PATIENCE_S

ARCHIVE = archive_of({"ld.so": Content(FAILING, executable=True), "big": Content(os.urandom(1 << 20))})
HALF = len(ARCHIVE) // 2


def begun(helper: str, place: Path) -> Bootstrap:
    run = Bootstrap(helper, place)
    run.send(header(ARCHIVE))
    return run


def await_part(place: Path, size: int) -> None:
    """Until so many bytes have come there."""
    until_s = time.monotonic() + PATIENCE_S
    while sum(part.stat().st_size for part in place.glob("*.part*")) < size:
        assert time.monotonic() < until_s
        time.sleep(0.01)


def interrupted(helper: str, place: Path) -> None:
    """A bootstrap that was killed when half of the archive was there."""
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[:HALF])
    await_part(place, HALF)
    run.process.send_signal(signal.SIGKILL)
    run.end()


def whole(run: Bootstrap, place: Path) -> int:
    """The port at which it hands the runtime on that it has now."""
    word, _, port = run.answer().partition(" ")
    assert word == "have"
    (root,) = runtimes(place)
    assert root == f"runtime-{hashlib.sha256(ARCHIVE).hexdigest()}"
    assert len((place / root / "big").read_bytes()) == 1 << 20
    assert list(place.glob("*.part*")) == []
    return int(port)


@contextlib.contextmanager
def source(helper: str, place: Path) -> Iterator[int]:
    """The port of a node that has got the runtime, and hands it on."""
    own = place.parent / "source"
    own.mkdir(0o700)
    run = Bootstrap(helper, own)
    run.send(header(ARCHIVE, secret=b"that it waits for"))
    assert run.answer() == "need 0"
    run.give(ARCHIVE)
    yield whole(run, own)
    run.end()


def fetching(helper: str, place: Path, port: int, token: bytes = TOKEN, address: str = "127.0.0.1") -> Bootstrap:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.send(order_to_fetch(address, port, token))
    return run


def request(token: bytes = TOKEN, offset: int = 0, archive: bytes = ARCHIVE, magic: bytes = b"gpr1") -> bytes:
    return struct.pack("<4sI16s32s", magic, offset, token, hashlib.sha256(archive).digest())


def told(port: int, words: bytes) -> bytes:
    """All that a source says to these words."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(words)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(1 << 16):
                found += more
        return found


@contextlib.contextmanager
def helper_with(definition: str) -> Iterator[str]:
    """The helper, compiled with this."""
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
        if compiler is None:
            pytest.skip("needs a C compiler")
        compile_by([compiler, definition], Path(made, "helper"), strict=True)
        yield str(Path(made, "helper"))


Peer = Callable[[socket.socket], object]


@contextlib.contextmanager
def peer(does: Peer) -> Iterator[int]:
    """The port of a peer that is no good source."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(56, socket.MSG_WAITALL)
                does(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def giving_and_waiting(part: bytes) -> Peer:
    def does(connection: socket.socket) -> None:
        connection.sendall(part)
        connection.recv(1)

    return does
