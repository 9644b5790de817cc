"""Who is fed by a sibling: who has the same job, with that job's bundle, and nobody else."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from gproc.spread.sending import MAX_WANTED
from gproc.trust.identity import load_identity
from gproc.wire import frames, messages
from tests.attack.peer import Peer, dial, join_as
from tests.system.cluster import Cluster, Slave
from tests.transfer.parcel import Parcel
from tests.transfer.stranger import hear_piece, manifest_of


class Pair:
    """Node 1, genuine, and node 2, in our hands."""

    def __init__(self, cluster: Cluster, parcel: Parcel) -> None:
        self.cluster = cluster
        self.parcel = parcel
        self.victim: Slave = cluster.slave(1)
        self._identity = load_identity(str(cluster.home), "node", socket.gethostname())
        self.control, self._bulk = join_as(cluster.port, self._identity, 2)
        self.control.hear(messages.Granted)
        self._jobs: list[subprocess.Popen[bytes]] = []

    def job(self, script: str = "exec sleep 60") -> messages.Run:
        """A job of both, as node 2 is told of it; at node 1 it runs the script."""
        self._jobs.append(self.cluster.begin("e", *self.parcel.words("1-2", script)))
        return self.control.hear(messages.Run)

    def sibling(self) -> Peer:
        return dial(self.victim.port, self._identity).greet(frames.CHANNEL_SIBLING)

    def fed_sibling(self, run: messages.Run) -> Peer:
        sibling = self.sibling().say(messages.PeerHello(run.ticket))
        sibling.hear(messages.PeerReady)
        return sibling

    def end(self) -> None:
        for peer in (self.control, self._bulk):
            peer.socket.close()
        for job in self._jobs:
            job.kill()
            job.communicate()


@pytest.fixture
def pair(cluster: Cluster, parcel_of: Callable[[int], Parcel]) -> Iterator[Pair]:
    pair = Pair(cluster, parcel_of(2))
    yield pair
    pair.end()


def test_who_has_the_same_job_is_fed_with_its_bundle(pair: Pair) -> None:
    run = pair.job()
    bundle = manifest_of(run.ticket)
    assert hear_piece(pair.fed_sibling(run).say(messages.Want(bundle, (bundle,)))).digest == bundle


def test_a_sibling_gets_no_bundle_but_its_jobs(pair: Pair) -> None:
    """A ticket opens its own job's files, not those of every user of the node."""
    other = manifest_of(pair.job().ticket)
    pair.parcel.change(0)
    sibling = pair.fed_sibling(pair.job())
    sibling.say(messages.Want(other, (other,))).hear_the_end()
    pair.victim.says("refused .*: it wants a bundle that is not its job's$")


def test_a_sibling_without_a_ticket_is_refused(pair: Pair) -> None:
    bundle = manifest_of(pair.job().ticket)
    pair.sibling().say(messages.Want(bundle, (bundle,))).hear_the_end()
    pair.victim.says("refused .*: Want as the first message on channel 4$")


def test_only_the_genuine_ticket_of_a_job_that_is_not_over_opens_anything(pair: Pair) -> None:
    run = pair.job("exit 0")
    pair.control.say(messages.Finished(run.job, run.branch.rank, messages.Outcome(0)))
    pair.cluster.master.says(r"job \d+: done")
    ticket = pair.job().ticket
    changed = messages.Signed(ticket.payload[:-1] + bytes([ticket.payload[-1] ^ 1]), ticket.signature)
    refused = [pair.sibling().say(messages.PeerHello(shown)) for shown in (run.ticket, changed)]
    for sibling in refused:
        sibling.hear_the_end()
    pair.victim.says("refused .*: it shows a ticket of a job that this node does not have$", times=2)


def test_a_sibling_that_wants_more_than_anybody_needs_is_refused(pair: Pair) -> None:
    run = pair.job()
    digests = tuple(number.to_bytes(32, "big") for number in range(MAX_WANTED + 1))
    pair.fed_sibling(run).say(messages.Want(manifest_of(run.ticket), digests)).hear_the_end()
    pair.victim.says(f"refused .*: it wants more than {MAX_WANTED} chunks at a time$")
