"""A peer that grants more credit than it has read would fill its neighbour's memory: it is dropped, others go on."""

from __future__ import annotations

from typing import Final

import pytest

from gproc.errors import PeerError
from gproc.relay.flow import Inlet, Outlet
from gproc.service.takers import SharedCredit
from gproc.trust.identity import Identity
from gproc.wire import frames
from gproc.wire.job_messages import Dismissed
from gproc.wire.messages import Accepted, Credit, Granted, Run
from tests.attack.peer import dial_unix, join_as
from tests.attack.target import submission
from tests.system.cluster import Cluster

ABUNDANCE: Final = 1 << 50


def test_a_client_that_grants_more_than_it_reads_is_dropped(cluster: Cluster) -> None:
    """The master kept 100 MB each second for it."""
    cluster.slave(1)
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as client:
        client.say(submission(nodes="1", argv=(b"/bin/sh", b"-c", b"yes")))
        job = client.hear(Accepted).job
        client.say(Credit(job, frames.STDOUT, ABUNDANCE))
        assert "more than it was sent" in client.hear(Dismissed).reason
    assert cluster.exec("-localbin", "1", "/bin/true").returncode == 0


def test_a_client_that_grants_more_for_files_than_it_reads_is_dropped(cluster: Cluster) -> None:
    cluster.slave(1)
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as client:
        client.say(submission(nodes="1", argv=(b"/bin/sleep", b"60"), collect=(b"*",)))
        job = client.hear(Accepted).job
        client.say(Credit(job, frames.FILES, ABUNDANCE))
        assert "more than it was sent" in client.hear(Dismissed).reason


def test_a_node_that_grants_more_input_than_it_reads_is_dropped(cluster: Cluster, other_node: Identity) -> None:
    """The master kept for it all that a user typed: 100 MB each second."""
    cluster.slave(1)
    up, bulk = join_as(cluster.port, other_node, 2)
    with up, bulk:
        up.hear(Granted)
        with open("/dev/zero", "rb") as endless:
            job = cluster.begin("e", "-localbin", "1-2", "/bin/sh", "-c", "head -c 3000000 | wc -c", stdin=endless)
            up.say(Credit(up.hear(Run).job, frames.STDIN, ABUNDANCE))
            cluster.master.says(r"cannot reach 2 \(kn9\): credit for \d+ bytes of standard input, more than it")
            job.kill()
            cluster.finish(job)


def test_a_parent_that_grants_more_output_than_it_reads_breaks_the_protocol() -> None:
    """A rack master kept for it what all nodes of its rack write: 1 MiB of each stream of each."""
    sent: list[bytes] = []
    outlet: Outlet[str] = Outlet(100, 100, sent.append, lambda source, size: None)
    outlet.accept(60, "a")
    outlet.push(0, b"frame", 60, "a")
    assert outlet.granted(60) == []
    with pytest.raises(PeerError, match="more than it was sent"):
        outlet.granted(1)


def test_a_reader_of_input_has_no_more_credit_than_its_window() -> None:
    inlet: Inlet[str] = Inlet(100, 1000, ["a"], lambda reader, block: None, lambda size: None)
    inlet.push(frames.InputBlock(0, b"", bytes(40)))
    inlet.credit("a", 40)
    with pytest.raises(PeerError, match="more than it was sent"):
        inlet.credit("a", 1)


def test_a_taker_cannot_take_what_it_was_not_given() -> None:
    credit = SharedCredit()
    credit.join("client")
    credit.join("spool", (frames.FILES,))
    credit.sent(frames.FILES, 10)
    credit.sent(frames.STDOUT, 10)
    assert credit.take("client", frames.FILES, 10) == 10  # the spool gets none of it
    assert credit.take("client", frames.STDOUT, 10) == 0
    assert credit.take("spool", frames.STDOUT, 10) == 10
    with pytest.raises(PeerError, match="more than it was sent"):
        credit.take("client", frames.STDOUT, 1)
