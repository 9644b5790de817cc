"""A user cannot hold up another user's jobs: not by silence or lies, not by connections, and not by memory."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections import Counter
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
from tests.attack.target import submission
from tests.attack.test_public_files import serve
from tests.patience import PATIENCE_S
from tests.pieces import piece_frame
from tests.system.cluster import NOBODY, Cluster, Daemon

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


def give(peer: Peer, data: bytes) -> None:
    """Answer the master's next question for chunks by these bytes."""
    for digest in peer.hear(messages.Want).digests:
        peer.raw(b"".join(map(piece_frame, frames.pieces(digest, frames.CODEC_RAW, data))))


@pytest.mark.parametrize("conduct", ["silent", "lying"])
def test_who_offers_a_bundle_first_cannot_stop_another_users_job_with_it(
    cluster: Cluster, root_only: None, conduct: str
) -> None:
    """A silent client stopped it for as long as it was connected, a lying one made it fail."""
    cluster.slave(1)
    with ExitStack() as attack:
        with another_user():
            hostile = [attack.enter_context(client(cluster)) for _ in range(5)]
        for number, peer in enumerate(hostile):
            peer.say(SUBMISSION)
            if number == 0:  # a user who does not show the bundle offers nothing
                give(peer, ENCODED)
                give(peer, SCRIPT)
            peer.hear(messages.Accepted)
        with client(cluster) as honest:
            honest.say(SUBMISSION)
            if conduct == "lying":
                honest.hear(messages.Accepted)
                give(hostile[0], b"a lie")
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
    """They made `gproc e` hang for all users, and the log grew by 28 MB in 16 s."""
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


def resident_bytes(daemon: Daemon) -> int:
    pages = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def is_well(cluster: Cluster) -> bool:
    """Whether root's command runs."""
    done = cluster.exec("1", "/bin/echo", "well")
    return (done.returncode, done.stdout) == (0, b"well\n")


ENVIRONMENT: Final = tuple(b"V%d=%s" % (number, b"x" * 100) for number in range(15_000))
"""1.6 MB."""

FLOOD: Final = 60
MANY: Final = 23
"""Before there were turns, one waited for 26 to 32 of these jobs, with them for 2 to 4."""


def test_jobs_of_a_user_with_large_environments_fill_no_memory_but_that_users_part(
    cluster: Cluster, root_only: None
) -> None:
    """60 jobs with 4 MB took 1.2 GB of a slave and were never given back."""
    slave = cluster.slave(1)
    with another_user():
        attack = client(cluster)
    with attack:
        count = 0
        for serial in range(60):
            job = submission(argv=(b"/bin/sleep", b"1000"), env=ENVIRONMENT).request
            answer = attack.say(messages.Submit(serial, job)).hear((messages.Accepted, messages.Rejected))
            if isinstance(answer, messages.Rejected):
                break
            count += 1
        assert isinstance(answer, messages.Rejected)
        assert answer.reason.startswith("your jobs and requests take ")
        assert 20 < count < 50
        assert is_well(cluster)
        for daemon in (cluster.master, slave):
            assert resident_bytes(daemon) < 300 << 20
    cluster.master.says(r"job \d+: done", times=count + 1)
    with another_user(), client(cluster) as peer:
        peer.say(submission(argv=(b"/bin/true",), env=ENVIRONMENT)).hear(messages.Accepted)


def test_jobs_with_large_environments_go_in_turn_with_those_of_others(cluster: Cluster, root_only: None) -> None:
    """Another user's job waited on the node until all of them had begun: 31 at 50 ms each."""
    cluster.slave(1)
    large = submission(argv=(b"/bin/true",), env=ENVIRONMENT).request
    with another_user():
        attack = client(cluster)
    with attack:
        ended = Counter[str]()
        begun = threading.Event()

        def flood() -> None:
            """Has as many jobs under way as one user may have."""
            for serial in range(FLOOD):
                attack.say(messages.Submit(serial, large))
            while sum(ended.values()) < FLOOD:
                answer = attack.hear((messages.Finished, messages.Rejected))
                ended[type(answer).__name__] += 1
                begun.set()

        flooding = threading.Thread(target=flood)
        flooding.start()
        assert begun.wait(PATIENCE_S)
        before = ended["Finished"]
        with client(cluster) as peer:
            assert peer.say(submission(argv=(b"/bin/true",))).hear(messages.Finished).outcome == Returned(0)
        waited_for = ended["Finished"] - before
        flooding.join(PATIENCE_S)
    assert waited_for < MANY, f"{waited_for} of {ended}"


def test_requests_that_are_never_complete_fill_no_memory_but_that_users_part(
    cluster: Cluster, root_only: None
) -> None:
    cluster.slave(1)
    with ExitStack() as attack:
        with another_user():
            hostile = [attack.enter_context(client(cluster)) for _ in range(20)]
        for peer in hostile:
            with suppress(OSError):
                peer.raw(frames.header(frames.KIND_CONTROL, frames.MAX_CONTROL_BYTES) + bytes(100_000))
        cluster.master.says(f"refused a client of uid {NOBODY}: your jobs and requests take 1[12]", times=20 - 8)
        assert is_well(cluster)
    with another_user():
        assert is_served(cluster)


def test_questions_whose_answers_nobody_reads_fill_no_memory(cluster: Cluster, root_only: None) -> None:
    """35 KB of them on a large tree took 1.4 GB of the master."""
    cluster.slave(1)
    with another_user():
        attack = client(cluster)
    with attack:
        with suppress(OSError):
            attack.say(*(messages.Inquire(serial) for serial in range(5000)))
        attack.hear_the_end()
        assert is_well(cluster)


def test_an_answer_that_is_not_read_does_not_stop_the_same_users_other_commands(cluster: Cluster) -> None:
    cluster.slave(1)
    with ExitStack() as attack:
        for _ in range(20):
            attack.enter_context(client(cluster)).say(*(messages.Inquire(serial) for serial in range(60)))
        assert cluster.states() == {"1": "up"}
