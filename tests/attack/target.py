"""A cluster with a job that goes on, to attack, and what is said to it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import msgspec

from gproc.request.spec import Request
from gproc.trust.identity import Identity, load_identity
from gproc.wire import frames, messages, tags
from tests.attack.peer import Peer, dial, dial_unix
from tests.system.cluster import Cluster, Daemon


class Target:
    """A cluster with a job that goes on, whatever happens around it."""

    def __init__(self, place: Path) -> None:
        self.cluster = Cluster(place)
        self.cluster.start_master()
        self.cluster.slave(1)
        self.identity: Identity = load_identity(str(self.cluster.home), "node", socket.gethostname())
        self._job = self.cluster.begin("e", "1", "/bin/cat", stdin=subprocess.PIPE)
        self._lines = 0
        self.goes_on()

    def goes_on(self) -> None:
        """The job still echoes, and the master still answers."""
        assert self._job.stdin is not None
        assert self._job.stdout is not None
        self._lines += 1
        self._job.stdin.write(b"%d\n" % self._lines)
        self._job.stdin.flush()
        assert self._job.stdout.readline() == b"%d\n" % self._lines
        assert self.cluster.states() == {"1": "up"}

    def listening(self, end: str) -> Daemon:
        return self.cluster.slaves[0] if end == "slave" else self.cluster.master

    def open(self, end: str) -> Peer:
        """A connection on which nothing was said; on a command port, with a node's certificate."""
        if end == "clients":
            return dial_unix(self.cluster.socket)
        return dial(self.cluster.port if end == "master" else self.cluster.slaves[0].port, self.identity)

    def greeted(self, end: str) -> Peer:
        return self.open(end).greet(frames.CHANNEL_CLIENT if end == "clients" else frames.CHANNEL_CONTROL)

    def close(self) -> None:
        assert self.cluster.finish(self._job) == (0, "", "")
        self.cluster.stop()


def control(payload: bytes) -> bytes:
    return frames.header(frames.KIND_CONTROL, len(payload)) + payload


def framed(message: messages.Message) -> bytes:
    return messages.frame(message)


def asked(**changes: object) -> Request:
    return Request(**{"nodes": "1", "argv": (b"/bin/true",), **changes})  # type: ignore[arg-type]


def submission(**changes: object) -> messages.Submit:
    return messages.Submit(1, asked(**changes))


def unchecked(**changes: object) -> bytes:
    """The same as a frame, without the checks that our own end makes when it builds a request."""
    genuine = asked()
    fields = {name: getattr(genuine, name) for name in Request.__struct_fields__}
    tag = tags.TAGS["Submit"]
    return control(msgspec.msgpack.encode([tag, 1, list({**fields, **changes}.values())]))
