"""A user cannot hold up another user's jobs: not by silence, and not by lies."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from gproc.content.manifest import Directory, File, Manifest, digest_of, encode
from gproc.link.refusals import LINES_OF_HOST
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName
from gproc.wire import frames, messages
from tests.attack.peer import Peer, dial_unix
from tests.attack.test_bad_input import submission
from tests.attack.test_public_files import serve
from tests.system.cluster import NOBODY, PATIENCE_S, Cluster

SCRIPT: Final = b"#!/bin/sh\nexit 7\n"
PROGRAM: Final = File(b"/opt/attack/program", 0o755, 0, 0, len(SCRIPT), 0, digest_of(SCRIPT))
DIRECTORIES: Final = (Directory(b"/opt", 0o755, 0, 0), Directory(b"/opt/attack", 0o755, 0, 0))
ENCODED: Final = encode(Manifest(PROGRAM.path, b"", (), (b"/opt/attack",), (), (0, 0), (*DIRECTORIES, PROGRAM)))
SUBMISSION: Final = submission(argv=(PROGRAM.path,), bundle=BundleName(digest_of(ENCODED), len(SCRIPT)))


@contextmanager
def another_user() -> Iterator[None]:
    """Connections that are made in here are those of another user, if the tests are root's."""
    uid = os.geteuid()
    os.seteuid(NOBODY if uid == 0 else uid)
    try:
        yield
    finally:
        os.seteuid(uid)


def client(cluster: Cluster) -> Peer:
    return dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT)


def lie(peer: Peer) -> None:
    for digest in peer.hear(messages.Want).digests:
        peer.raw(b"".join(map(frames.piece_frame, frames.pieces(digest, frames.CODEC_RAW, b"a lie"))))


@pytest.mark.parametrize("conduct", ["silent", "lying"])
def test_who_offers_a_bundle_first_cannot_stop_another_users_job_with_it(
    cluster: Cluster, root_only: None, conduct: str
) -> None:
    """The silent one stopped it until he left, the lying one made it fail."""
    cluster.slave(1)
    with ExitStack() as attack:
        with another_user():
            hostile = [attack.enter_context(client(cluster)) for _ in range(5)]
        for peer in hostile:
            peer.say(SUBMISSION).hear(messages.Accepted)
        with client(cluster) as honest:
            honest.say(SUBMISSION)
            if conduct == "lying":
                honest.hear(messages.Accepted)
                lie(hostile[0])
            assert serve(honest, ENCODED, {digest_of(SCRIPT): SCRIPT}).outcome == Returned(7)


@pytest.fixture
def cluster_of_few(tmp_path: Path, root_only: None) -> Iterator[Cluster]:
    """Its master and slaves may have 1,024 files open, as on many machines."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 3000:
        pytest.skip("needs 3,000 descriptors")
    cluster = Cluster(tmp_path / "few")
    cluster.under = ("prlimit", "--nofile=1024:1024", "--")
    cluster.start_master()
    yield cluster
    cluster.stop()


def many(stack: ExitStack, count: int, connect: Callable[[], socket.socket]) -> list[socket.socket]:
    """Connections on which nothing is said; as many of `count` as can be made."""
    made = []
    for _ in range(count):
        with suppress(OSError):
            made.append(stack.enter_context(connect()))
    return made


def test_connections_without_a_certificate_do_not_stop_jobs_or_slaves(cluster_of_few: Cluster) -> None:
    """1,100 of them took all descriptors of a slave, and its jobs failed."""
    cluster = cluster_of_few
    slave = cluster.slave(1)
    with ExitStack() as attack:
        for port in (cluster.port, slave.port):
            stranger = partial(socket.create_connection, ("127.0.0.1", port), 20, ("127.0.0.9", 0))
            assert len(many(attack, 1100, stranger)) > 100
        done = cluster.exec("1", "/bin/echo", "well")
        assert (done.returncode, done.stdout) == (0, b"well\n")
        cluster.slave(2)
        cluster.slave(1, parent=slave)
        assert cluster.exec("./.", "/bin/true").returncode == 0
        for daemon in (cluster.master, slave):
            assert daemon.log.count("refused 127.0.0.9") < 2 * LINES_OF_HOST
            assert daemon.descriptors() < 400


def test_idle_connections_of_a_user_do_not_stop_other_users(cluster_of_few: Cluster) -> None:
    """They made everybody's `gproc e` hang, and the log grow by 28 MB in 16 s."""
    cluster = cluster_of_few
    cluster.slave(1)

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(cluster.socket))
        return connection

    with ExitStack() as attack:
        with another_user():
            many(attack, 1100, connect)
        done = cluster.exec("1", "/bin/echo", "well")
        assert (done.returncode, done.stdout) == (0, b"well\n")
        assert cluster.master.descriptors() < 200
        assert cluster.master.log.count("refused a client") < 50
    with another_user():
        assert is_served(cluster)


def is_served(cluster: Cluster) -> bool:
    """Whether this user is, as soon as the master has noticed that former connections are gone."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with suppress(OSError, AssertionError), client(cluster) as peer:
            return bool(peer.say(messages.Inquire(1)).hear(messages.TreeState).nodes)
    return False
