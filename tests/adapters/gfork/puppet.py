"""A server or a master for tests that does what the test says, over the client's connection or a socket of its own.

It speaks the link protocol by itself, so that gproc's code is not tested against itself.  Usage: puppet.py [SOCKET]
"""

import json
import os
import signal
import socket
import struct
import sys
from typing import Any

HEADER = struct.Struct("=QiiI4x")


def descriptor(name: str) -> int:
    return int(os.environ[f"GFORK_CHILD_{name}_ENV"])


def exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(fd, count - len(data))
        if not more:
            break
        data += more
    return data


def receive() -> Any:
    header = exactly(descriptor("READ"), HEADER.size)
    if not header:
        return None
    size, from_pid, to_pid, kind = HEADER.unpack(header)
    return [chr(kind), from_pid, to_pid, exactly(descriptor("READ"), size).decode("latin-1")]


def send(to: int, body: str, claim: int = 0, kind: str = "D", times: int = 1, repeat: int = 1) -> None:
    data = body.encode("latin-1") * repeat
    frame = memoryview(HEADER.pack(len(data), claim, to, ord(kind)) + data)
    for _ in range(times):
        rest = frame
        while rest:
            rest = rest[os.write(descriptor("WRITE"), rest) :]


def open_descriptors() -> list[str]:
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if alive(fd))


def alive(fd: str) -> bool:
    try:
        os.fstat(int(fd))
    except OSError:
        return False
    return True


def obey(order: dict[str, Any]) -> Any:
    what = order.pop("do")
    match what:
        case "pid":
            return os.getpid()
        case "environment":
            return dict(os.environ)
        case "descriptors":
            return open_descriptors()
        case "receive":
            return receive()
        case "send":
            return send(**order)
        case "raw":
            return os.write(descriptor("WRITE"), bytes.fromhex(order["data"]))
        case "ignore":
            signal.signal(getattr(signal, order["signal"]), signal.SIG_IGN)
            return None
        case "close":
            return os.close(descriptor(order["end"]))
        case "fork":  # a process that the service leaves behind, holding the connection
            child = os.fork()
            if child == 0:
                while True:
                    signal.pause()
            return child
        case "haunt":  # leave a process behind that writes to the link for as long as it can
            if os.fork() == 0:
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                while True:
                    send(999_999, "x", repeat=30_000)
            return None
        case "exit":
            os._exit(order["status"])
    raise ValueError(what)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1].startswith("/"):
        control = socket.socket(socket.AF_UNIX)
        control.connect(sys.argv[1])
    else:
        control = socket.socket(fileno=os.dup(0))
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
    orders = control.makefile("rb")
    for line in orders:
        control.sendall(json.dumps(obey(json.loads(line))).encode() + b"\n")


main()
