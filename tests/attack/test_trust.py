"""A peer that is not what it should be is refused, and a log line gives the reason."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from gproc.request.outcome import Returned
from gproc.trust.authority import open_authority, provision
from gproc.trust.identity import Identity, load_identity
from gproc.wire import frames, messages
from gproc.wire.messages import Granted, Run
from tests.attack.peer import (
    Parent,
    Peer,
    dial,
    dial_unix,
    join_as,
    node_named,
    signed_end,
)
from tests.system.cluster import NOBODY, Cluster


def refused_at(port: int, identity: Identity | None) -> None:
    """TLS 1.3: the dialling side hears only when it reads that its certificate was refused."""
    try:
        with dial(port, identity) as peer:
            peer.hear_the_end()
    except ssl.SSLError:
        return


@pytest.mark.parametrize("end", ["master", "slave"])
def test_nobody_gets_in_without_a_certificate(cluster: Cluster, end: str) -> None:
    slave = cluster.slave(1)
    listening, port = (cluster.master, cluster.port) if end == "master" else (slave, slave.port)
    refused_at(port, None)
    listening.says(r"refused 127\.0\.0\.1:\d+: it shows no certificate$")
    assert cluster.exec("1", "/bin/true").returncode == 0


@pytest.mark.parametrize("end", ["master", "slave"])
def test_nobody_gets_in_with_another_clusters_certificate(cluster: Cluster, end: str, foreign_home: Path) -> None:
    slave = cluster.slave(1)
    listening, port = (cluster.master, cluster.port) if end == "master" else (slave, slave.port)
    ours = load_identity(str(foreign_home), "node", socket.gethostname())
    # A stranger who does not care who the parent is gets as far as the parent's own check.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(ours.certificate, ours.key)
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secured:
        Peer(secured).hear_the_end()
    listening.says(r"refused 127\.0\.0\.1:\d+: its certificate is of another cluster$")


def test_a_slave_of_another_cluster_does_not_join_and_says_why(cluster: Cluster, foreign_home: Path) -> None:
    slave = cluster.launch_slave(home=foreign_home)
    slave.says(r"cannot join: 127\.0\.0\.1:\d+: its certificate is of another cluster; trying again$")
    cluster.master.says(r"refused 127\.0\.0\.1:\d+: it says that our certificate is of another cluster$")
    assert cluster.states() == {}
    cluster.end(slave, signal.SIGTERM)


def test_a_masters_certificate_does_not_join(cluster: Cluster) -> None:
    refused_at(cluster.port, load_identity(str(cluster.home), "master", socket.gethostname()))
    cluster.master.says(r"refused 127\.0\.0\.1:\d+: its certificate is not for this use: a master does not dial$")


def test_a_node_that_poses_as_another_nodes_parent_is_refused(cluster: Cluster, other_node: Identity) -> None:
    with Parent(other_node) as impostor:
        slave = cluster.launch_slave(parent=impostor.port)
        with impostor.accept() as peer:
            peer.hear_the_end()
        slave.says(rf"cannot join: expected this machine, {socket.gethostname()}, but node kn9 answered: ")
        cluster.end(slave, signal.SIGTERM)


def test_a_node_cannot_join_under_anothers_name(cluster: Cluster, other_node: Identity) -> None:
    with dial(cluster.port, other_node).greet(frames.CHANNEL_CONTROL) as peer:
        peer.say(messages.Join(b"t" * 16, 1, True, node_named("kn1")))
        peer.hear_the_end()
    cluster.master.says(r"refused node kn9 at \S+: it says that it is kn1, and its certificate is of kn9$")


def test_a_bulk_connection_needs_its_nodes_token(cluster: Cluster, other_node: Identity) -> None:
    with dial(cluster.port, other_node).greet(frames.CHANNEL_BULK) as peer:
        peer.say(messages.Attach(b"guessed" * 2))
        peer.hear_the_end()
    cluster.master.says(r"refused node kn9 at \S+: a bulk connection of a node that has not joined$")


def test_a_relay_cannot_speak_for_a_node_that_is_not_below_it(cluster: Cluster, this_node: Identity) -> None:
    cluster.slave(2)
    hostile, bulk = join_as(cluster.port, this_node, 1)
    with hostile, bulk:
        hostile.hear(Granted)
        job = cluster.begin("e", "-localbin", "1-2", "/bin/sh", "-c", "read line; echo $line; exit 3", stdin=-1)
        run = hostile.hear(Run)
        hostile.raw(frames.stdio_frame(run.job, 1, frames.STDOUT, 0, b"forged\n"))
        ends = [signed_end(hostile.voice, run, rank, Returned(0)) for rank in (1, 0)]
        hostile.say(*ends)
        assert job.stdin is not None
        job.stdin.write(b"genuine\n")
        assert cluster.finish(job) == (3, "genuine\n", "gproc: 2: exit status 3\n")


def test_another_users_job_is_refused_by_a_slave_that_is_not_root(
    cluster: Cluster, tmp_path: Path, root_only: None
) -> None:
    provision(open_authority(str(cluster.home), create=False), socket.gethostname(), [], str(tmp_path / "n"))
    for path in (tmp_path / "n", *(tmp_path / "n").iterdir()):
        os.chown(path, NOBODY, NOBODY)
    slave = cluster.slave(1, uid=NOBODY, home=tmp_path / "n")
    done = cluster.exec("1", "/bin/true")
    assert done.returncode == 125
    reason = "is of uid 0, and this slave runs as uid 65534, so it runs only that user's jobs"
    assert reason in done.stderr.decode()
    slave.says(rf"refused from \S+ job \d+ {reason}")
    own = cluster.exec("1", "/usr/bin/id", "-u", uid=NOBODY)
    assert (own.returncode, own.stdout) == (0, b"65534\n"), own.stderr


def test_a_squatted_socket_gets_no_byte(cluster: Cluster, root_only: None, tmp_path: Path) -> None:
    path = cluster.place / "squatted"
    cluster.place.chmod(0o777)
    listener = socket.socket(socket.AF_UNIX)
    os.seteuid(NOBODY)
    try:
        listener.bind(str(path))
        listener.listen()
    finally:
        os.seteuid(0)
    with listener:
        done = cluster.exec(f"--socket={path}", ".", "/bin/true")
        assert done.returncode == 125
        assert done.stderr.decode().startswith(f"gproc: a squatted socket: {path} belongs to nobody (uid 65534)")
        # Nobody even connected: a listener that never accepts would keep a command waiting.
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_foreign_users_signals_and_input_do_not_reach_a_job(cluster: Cluster) -> None:
    cluster.slave(1)
    job = cluster.begin("e", "1", "/bin/cat", stdin=-1)
    number = int(cluster.master.says(r"job (\d+): uid").group(1))
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as stranger:
        stranger.raw(frames.stdio_frame(number, frames.EVERY_RANK, frames.STDIN, 0, b"foreign\n"))
        stranger.say(messages.SignalJob(number, signal.SIGKILL), messages.Credit(number, frames.STDOUT, 1 << 40))
        stranger.say(messages.Inquire(1))
        assert stranger.hear(messages.TreeState).nodes[0].jobs == 1
    assert job.stdin is not None
    job.stdin.write(b"own\n")
    assert cluster.finish(job) == (0, "own\n", "")
