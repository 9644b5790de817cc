"""A peer that is not who it should be is refused, with a log line that has the reason."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from msgspec.structs import replace

from gproc.node.voice import Voice
from gproc.nodespec import LEVELS_MAX
from gproc.relay.belonging import most_below
from gproc.request.outcome import Refused, Returned
from gproc.trust.authority import open_authority, provision
from gproc.trust.identity import Identity, load_identity
from gproc.trust.signing import Context, Signer
from gproc.wire import frames, messages
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Arrived, Granted, Route, Run, Signed
from tests.attack.peer import (
    PING_S,
    Parent,
    Peer,
    dial,
    dial_unix,
    end_in,
    join_as,
    node_named,
    node_of,
    ping,
    signed_end,
)
from tests.attack.relay import Relay
from tests.system.cluster import NOBODY, Cluster

ECHO = ("-localbin", "=1/2", "/bin/echo", "done by the slave")


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


def refused(slave: Peer) -> str:
    """Why a slave did not take a job."""
    ended = slave.hear(RankEnded)
    if ended.signed is None:
        return ended.reason
    outcome = end_in(ended).outcome
    assert isinstance(outcome, Refused)
    return outcome.reason


def test_a_ticket_that_a_relay_passes_on_unchanged_is_taken(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    outcome = relay.order(run)
    assert outcome == Returned(0)
    assert relay.answer(job, run)[0] == 0


@pytest.mark.parametrize("changed", [b"/bin/echo", b"done by"])
def test_a_ticket_that_a_relay_has_changed_is_refused(relay: Relay, changed: bytes) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert changed in run.ticket.payload
    payload = run.ticket.payload.replace(changed, b"/bin/rm -r"[: len(changed)])
    line = relay.refusal(run, Signed(payload, run.ticket.signature))
    assert line.startswith("a forged ticket: ")
    relay.up.say(relay.ended)
    assert relay.order(run) == Returned(0)  # what the slave has not taken says nothing of the genuine one
    assert relay.answer(job, run)[0] == 0


def test_a_ticket_that_a_relay_has_signed_itself_is_refused(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    own = Signer(os.urandom(32)).sign_bytes(Context.TICKET, run.ticket.payload)
    assert relay.refusal(run, Signed(run.ticket.payload, own)).startswith("a forged ticket: ")
    relay.answer(job, run)


def test_a_grant_is_no_ticket(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert relay.refusal(run, relay.grant).startswith("a forged ticket: ")
    relay.answer(job, run)


def test_a_ticket_works_once(relay: Relay, tmp_path: Path) -> None:
    relay.pass_grant()
    runs = tmp_path / "runs"
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", f"echo once >> {runs}")
    assert relay.order(run) == relay.order(run) == Returned(0)
    assert relay.answer(job, run)[0] == 0
    relay.let_go(run)
    assert relay.refusal(run).startswith("a replayed ticket: ")
    assert runs.read_text() == "once\n"


def test_a_ticket_for_other_nodes_is_refused(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1", "/bin/echo", "for the relay alone")
    assert relay.refusal(run) == f"job {run.job} is for =1, not for this node, 1/2"
    relay.answer(job, run)


def test_a_genuine_ticket_does_not_come_as_another_job(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    renamed = Run(run.job + 1, run.size, run.ticket, run.branch, run.window_bytes)
    assert relay.refusal(renamed) == f"a ticket for job {run.job} that came as job {run.job + 1}"
    relay.answer(job, run)


def test_without_a_grant_no_ticket_is_taken(relay: Relay) -> None:
    job, run = relay.begin(*ECHO)
    assert "to which this slave does not belong" in relay.refusal(run)
    relay.answer(job, run)


def test_nothing_can_be_replayed_after_a_slaves_restart(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert relay.order(run) == Returned(0)
    relay.answer(job, run)
    old_grant = relay.grant
    relay.cluster.end(relay.slave, signal.SIGKILL)
    relay.adopt()
    relay.down.say(Granted(Route(()), old_grant))
    relay.slave.says(
        rf"refused from 127\.0\.0\.1:{relay.listener.port}: a grant for 1/2 that was made for another slave, "
        "or before this one's start"
    )
    relay.down.say(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    assert "to which this slave does not belong" in refused(relay.down)
    relay.pass_grant()
    relay.down.say(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    assert "a replayed ticket" in refused(relay.down)
    relay.slave.says(r"refused from \S+ a replayed ticket: number \d+ comes after number \d+")


def test_a_ticket_that_is_too_old_for_a_rack_master_is_passed_on_to_the_nodes_that_may_have_its_job(
    relay: Relay, this_node: Identity
) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert relay.order(run) == Returned(0)
    assert relay.answer(job, run)[0] == 0
    relay.let_go(run)
    port = int(relay.slave.says(r"takes children on port (\d+)").group(1))
    below, bulk = join_as(port, this_node, 3)
    with below, bulk:
        relay.down.hear(messages.Arrived)
        relay.down.say(Run(run.job, run.size, run.ticket, Branch(0, {3: Branch(1, {})}), run.window_bytes))
        assert "a replayed ticket" in refused(relay.down)
        assert below.hear(Run).ticket == run.ticket


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


def test_one_certificate_does_not_take_several_places(cluster: Cluster, other_node: Identity) -> None:
    first = join_as(cluster.port, other_node, 1)
    cluster.master.says(r"arrived: 1 \(kn9\)$")
    with dial(cluster.port, other_node).greet(frames.CHANNEL_CONTROL) as again:
        again.say(messages.Join(b"t" * 16, 2, True, node_named("kn9")))
        refusal = again.hear(messages.RefuseJoin)
    assert refusal.reason == "kn9 is here already, as node 1: a certificate has one place"
    for peer in first:
        peer.socket.close()


def test_a_host_does_not_take_the_place_of_another_host_of_the_locale(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("-locale=kane", "--address=127.0.0.1")
    provision(open_authority(str(cluster.home), create=False), "kn9", [], str(tmp_path / "kn9"))
    kn9 = load_identity(str(tmp_path / "kn9"), "node", "kn9")
    for number in (1, 9):
        with dial(cluster.port, kn9).greet(frames.CHANNEL_CONTROL) as peer:
            peer.say(messages.Join(b"t" * 16, number, True, node_named("kn9")))
            assert peer.hear(messages.RefuseJoin).reason == "the locale places kn9 as number 9 below kn20"
    cluster.stop()


def test_a_relay_cannot_announce_a_host_that_is_elsewhere(
    cluster: Cluster, this_node: Identity, other_node: Identity, tmp_path: Path
) -> None:
    provision(open_authority(str(cluster.home), create=False), "kn10", [], str(tmp_path / "kn10"))
    third = load_identity(str(tmp_path / "kn10"), "node", "kn10")
    honest = join_as(cluster.port, other_node, 9)
    hostile = join_as(cluster.port, this_node, 1)
    hostile[0].hear(Granted)
    hostile[0].say(
        messages.Arrived(Route((3,)), node_of(other_node, Voice())),
        messages.Arrived(Route((4, 1)), node_of(third, Voice())),
    )
    cluster.master.says(r"not taken in: 1/3 \(kn9\): 9 \(kn9\) is here already: a certificate has one place$")
    cluster.master.says(r"not taken in: 1/4/1 \(kn10\): the node above it is not there$")
    assert set(states_beside(cluster, honest[0], hostile[0])) == {"1", "9"}
    for peer in (*honest, *hostile):
        peer.socket.close()


def test_a_relay_cannot_make_up_nodes(cluster: Cluster, this_node: Identity, other_node: Identity) -> None:
    """They would get jobs, and it would say how those ended."""
    hostile = join_as(cluster.port, this_node, 1)
    hostile[0].hear(Granted)
    own, genuine = node_of(this_node, Voice()), node_of(other_node, Voice())
    proof = genuine.proof
    assert proof is not None
    made_up = {
        2: (node_named("kn9"), "it does not prove that it is kn9: it shows no certificate"),
        3: (replace(own, name="kn9"), rf"its certificate is of {this_node.name}, and it is announced as kn9"),
        4: (replace(genuine, nonce=own.nonce), "it does not prove that it is kn9: it is signed by another key"),
        5: (replace(genuine, proof=replace(proof, key=os.urandom(32))), "it .*: it is signed by another key"),
        6: (replace(genuine, proof=replace(proof, certificate=b"x")), "it .*: its certificate cannot be read"),
    }
    hostile[0].say(*(messages.Arrived(Route((number,)), node) for number, (node, _) in made_up.items()))
    for number, (_, reason) in made_up.items():
        cluster.master.says(rf"not taken in: 1/{number} \(kn9\): {reason}")
    assert set(states_beside(cluster, hostile[0])) == {"1"}
    for peer in hostile:
        peer.socket.close()


def states_beside(cluster: Cluster, *peers: Peer) -> dict[str, str]:
    """What the master says of its nodes, while these are not silent: on a busy machine they were lost meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(cluster.states)
        while not asked.done():
            ping(*peers)
            wait([asked], PING_S)
        return asked.result()


def test_a_relay_cannot_draw_a_node_to_itself_that_is_not_below_it(
    cluster: Cluster, this_node: Identity, other_node: Identity
) -> None:
    """It knows how that node introduces itself, since it relayed for it once, say."""
    honest = join_as(cluster.port, other_node, 9)
    hostile = join_as(cluster.port, this_node, 1)
    hostile[0].hear(Granted)
    hostile[0].say(messages.Arrived(Route((3,)), node_of(other_node, honest[0].voice)))
    cluster.master.says(r"not taken in: 1/3 \(kn9\): it is 9 \(kn9\), which is not below 1$")
    assert set(states_beside(cluster, honest[0], hostile[0])) == {"1", "9"}
    for peer in (*honest, *hostile):
        peer.socket.close()


def test_a_node_that_announces_a_multitude_is_dropped(cluster: Cluster, other_node: Identity) -> None:
    """Below a rack master: what nobody proves is not taken in at the master, and is there at a node on the way."""
    rack = cluster.slave(1)
    cluster.slave(3, parent=rack)
    hostile = join_as(rack.port, other_node, 2)
    hostile[0].hear(Granted)
    crowd = [Arrived(Route((number,)), node_named(f"n{number}")) for number in range(1, most_below(1) + 2)]
    with contextlib.suppress(OSError):
        hostile[0].say(*crowd)
    rack.says(rf"node 2 left: .*: it announced more than {most_below(1)} nodes$")
    for peer in hostile:
        peer.socket.close()
    assert cluster.exec("-localbin", "=1/3", "/bin/true").returncode == 0
    assert not rack.said("lost the parent")  # it had its parent dropped, again and again, with all below it


def test_a_node_cannot_have_its_parent_dropped_by_a_place_that_is_too_deep(
    cluster: Cluster, other_node: Identity
) -> None:
    rack = cluster.slave(1)
    hostile = join_as(rack.port, other_node, 2)
    hostile[0].hear(Granted)
    hostile[0].say(Arrived(Route((1,) * (LEVELS_MAX - 1)), node_named("kn7")))
    rack.says(rf"node 2 left: .*: it announced a node deeper than {LEVELS_MAX} levels$")
    for peer in hostile:
        peer.socket.close()
    assert not rack.said("lost the parent")


def test_nodes_that_announce_much_together_have_the_largest_of_them_dropped(
    cluster: Cluster, other_node: Identity, tmp_path: Path
) -> None:
    rack = cluster.slave(1)
    peers = []
    for number in range(2, 7):
        authority = open_authority(str(cluster.home), create=False)
        provision(authority, f"kn{number}", [], str(tmp_path / f"kn{number}"))
        identity = load_identity(str(tmp_path / f"kn{number}"), "node", f"kn{number}")
        up, bulk = join_as(rack.port, identity, number)
        up.hear(Granted)
        peers += [up, bulk]
        with contextlib.suppress(OSError):
            up.say(*(Arrived(Route((below,)), node_named("kn99")) for below in range(1, 3500)))
    rack.says(r"node \d left: .*: it and others announced more nodes than may be below their parent, and it the most")
    for peer in peers:
        peer.socket.close()
    assert not rack.said("lost the parent")
