"""A slave sends a bundle only to peers that show a ticket of a job with that bundle."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from gproc.request.outcome import Returned
from gproc.spread.sending import MAX_WANTED
from gproc.trust.identity import load_identity
from gproc.wire import frames, messages
from tests.attack.peer import Peer, dial, join_as, signed_end
from tests.system.cluster import Cluster, Slave
from tests.transfer.fake_peer import hear_piece, manifest_of
from tests.transfer.payload import Payload


class Pair:
    """Node 1 is a real slave, and the test plays node 2."""

    def __init__(self, cluster: Cluster, payload: Payload) -> None:
        self.cluster = cluster
        self.payload = payload
        self.victim: Slave = cluster.slave(1)
        self._identity = load_identity(str(cluster.home), "node", socket.gethostname())
        self.control, self._bulk = join_as(cluster.port, self._identity, 2)
        self.control.hear(messages.Granted)
        self._jobs: list[subprocess.Popen[bytes]] = []

    def job(self, script: str = "exec sleep 60") -> messages.Run:
        """Start a job on both nodes, which runs the script on node 1.  Returns the order that node 2 receives."""
        self._jobs.append(self.cluster.begin("e", *self.payload.words("1-2", script)))
        return self.control.hear(messages.Run)

    def dial_peer(self) -> Peer:
        return dial(self.victim.port, self._identity).greet(frames.CHANNEL_PEER)

    def dial_with_ticket(self, run: messages.Run) -> Peer:
        peer = self.dial_peer().say(messages.PeerHello(run.ticket))
        peer.hear(messages.PeerReady)
        return peer

    def end(self) -> None:
        for peer in (self.control, self._bulk):
            peer.socket.close()
        for job in self._jobs:
            job.kill()
            job.communicate()


@pytest.fixture
def pair(cluster: Cluster, make_payload: Callable[[int], Payload]) -> Iterator[Pair]:
    pair = Pair(cluster, make_payload(2))
    yield pair
    pair.end()


def test_a_peer_with_the_same_job_gets_its_bundle(pair: Pair) -> None:
    run = pair.job()
    bundle = manifest_of(run.ticket)
    assert hear_piece(pair.dial_with_ticket(run).say(messages.Want(bundle, (bundle,)))).digest == bundle


@pytest.mark.stress
def test_a_peer_gets_no_bundle_except_its_jobs(pair: Pair) -> None:
    """A ticket opens its own job's files, not those of every user of the node."""
    other = manifest_of(pair.job().ticket)
    pair.payload.change(0)
    peer = pair.dial_with_ticket(pair.job())
    peer.say(messages.Want(other, (other,))).hear_the_end()
    pair.victim.says("refused .*: it wants a bundle that is not its job's$")


def test_a_peer_without_a_ticket_is_refused(pair: Pair) -> None:
    bundle = manifest_of(pair.job().ticket)
    pair.dial_peer().say(messages.Want(bundle, (bundle,))).hear_the_end()
    pair.victim.says("refused .*: not a message that opens a connection: ")


def test_only_a_genuine_ticket_of_a_running_job_is_accepted(pair: Pair) -> None:
    run = pair.job("exit 0")
    pair.control.say(signed_end(pair.control.voice, run, run.branch.rank, Returned(0)))
    pair.cluster.master.says(r"job \d+: done")
    ticket = pair.job().ticket
    changed = messages.Signed(ticket.payload[:-1] + bytes([ticket.payload[-1] ^ 1]), ticket.signature)
    refused = [pair.dial_peer().say(messages.PeerHello(shown)) for shown in (run.ticket, changed)]
    for peer in refused:
        peer.hear_the_end()
    pair.victim.says("refused .*: it shows a ticket of a job that this node does not have$", times=2)


@pytest.mark.stress
def test_a_peer_that_wants_too_many_chunks_at_a_time_is_refused(pair: Pair) -> None:
    run = pair.job()
    digests = tuple(number.to_bytes(32, "big") for number in range(MAX_WANTED + 1))
    pair.dial_with_ticket(run).say(messages.Want(manifest_of(run.ticket), digests)).hear_the_end()
    pair.victim.says(f"refused .*: it wants more than {MAX_WANTED} chunks at a time$")
