"""A neighbour that the master trusts cannot fill its memory, log or tables, and no wait for it lasts for ever."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from gproc.errors import PeerError
from gproc.link.refusals import LINES_OF_HOST
from gproc.node.voice import Voice
from gproc.nodespec import LEVELS_MAX
from gproc.relay.belonging import NODES_BELOW_MAX
from gproc.relay.common import QUEUED_ENDS_BYTES_MAX
from gproc.relay.early import EARLY_BYTES_MAX, EarlyWords
from gproc.request.outcome import Returned
from gproc.trust.identity import Identity
from gproc.wire import frames, messages
from gproc.wire.branch import Branch
from gproc.wire.endings import END_BYTES_MAX, RankEnded, Release
from gproc.wire.loads import Load, Poll
from gproc.wire.merging import AnnounceOutput
from gproc.wire.messages import Arrived, AskLease, Granted, Route, Run, Signed
from tests.attack.peer import dial, join_as, node_named, node_of, ping, signed_end
from tests.attack.relay import Relay
from tests.system.cluster import Cluster


def test_what_a_node_says_before_its_second_connection_is_bounded(cluster: Cluster, this_node: Identity) -> None:
    """All of it was kept: 16,384 messages of up to 16 MB."""
    with dial(cluster.port, this_node).greet(frames.CHANNEL_CONTROL) as control:
        control.say(messages.Join(os.urandom(16), 1, True, node_of(this_node, control.voice)))
        control.hear(messages.Welcome)
        control.say(RankEnded(1, 0, Signed(bytes(END_BYTES_MAX - 64), bytes(64))))
        control.hear_the_end()
    cluster.master.says(r"node 1 left: .*: RankEnded before it has opened its bulk connection")


def test_early_words_are_counted_by_their_bytes(this_node: Identity) -> None:
    early, node = EarlyWords(), replace(node_of(this_node, Voice()), plain_because="x" * 4096)
    early.add(Load(1, (), ()))
    with pytest.raises(PeerError, match="announced more than"):
        for number in range(EARLY_BYTES_MAX // 4096):
            early.add(Arrived(Route((number,)), node))
    assert len(early.take()) < EARLY_BYTES_MAX // 4096
    assert early.take() == []
    with pytest.raises(PeerError):
        early.add(Arrived(Route(tuple(range(LEVELS_MAX + 1))), node))


def test_ends_behind_output_that_a_rack_does_not_bring_are_bounded(
    cluster: Cluster, this_node: Identity, other_node: Identity
) -> None:
    """65,536 of 16 MB were kept."""
    racks = [join_as(cluster.port, this_node, 1), join_as(cluster.port, other_node, 2)]
    (first, _), (second, _) = racks
    for up, identity in ((first, this_node), (second, other_node)):
        up.hear(Granted)
        up.say(Arrived(Route((1,)), node_of(identity, Voice())))
        up.hear(Granted)
    job = cluster.begin("e", "-localbin", "1-2/1", "/bin/true")
    run = first.hear(Run)
    assert run.merge is not None
    rank = run.branch.rank
    first.say(AnnounceOutput(run.job, rank, frames.STDOUT, 0, 4096, 7, bytes(16), run.merge.epoch))
    end = messages.frame(RankEnded(run.job, rank, Signed(bytes(END_BYTES_MAX - 64), bytes(64))))
    with pytest.raises(OSError):
        for _ in range(4 * QUEUED_ENDS_BYTES_MAX // END_BYTES_MAX):
            first.raw(end)
            ping(second)
    cluster.master.says(r"cannot reach 1 .*: more than \d+ bytes of ends behind output that it did not bring")
    job.kill()
    cluster.finish(job)
    for peer in (each for rack in racks for each in rack):
        peer.socket.close()


def test_an_end_that_is_longer_than_any_is_no_message() -> None:
    with pytest.raises(ValueError, match="an end of"):
        RankEnded(1, 0, Signed(bytes(END_BYTES_MAX), bytes(64)))


def test_nodes_that_are_not_taken_in_fill_no_log(cluster: Cluster, this_node: Identity) -> None:
    """There was a line for each: 10,000 a second."""
    up, bulk = join_as(cluster.port, this_node, 1)
    with up, bulk:
        up.hear(Granted)
        unproved = node_named("kn7")
        up.say(*(Arrived(Route((number,)), unproved) for number in range(1, 2000)), Arrived(Route(()), unproved))
        up.say(Arrived(Route((3000,)), node_of(this_node, Voice())))
        up.hear(Granted)
        assert len(cluster.master.said("not taken in")) <= LINES_OF_HOST


def test_forged_words_of_a_parent_fill_no_log(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/sleep", "60")
    relay.tell(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    relay.tell(*(Release(run.job) for _ in range(1000)))
    relay.slave.says(r"refused from \S+ a forged release: ")
    relay.tell(messages.Shutdown("that is all"))
    relay.slave.says("lost the parent")
    assert len(relay.slave.said("a forged release")) <= LINES_OF_HOST
    job.kill()
    relay.cluster.finish(job)


def test_a_rack_master_cannot_have_the_node_below_it_take_its_own_place(relay: Relay) -> None:
    """The master lost the way to the rack master and never noticed.  A job there never ended, not even after
    signals."""
    relay.pass_grant()
    relay.up.say(Arrived(Route(()), relay.join.node))
    relay.cluster.master.says(r"not taken in: 1 \(\S+\): 1 \(\S+\) is reached by the same way")
    job, run = relay.begin("-localbin", "=1", "/bin/true")
    relay.up.say(signed_end(relay.up.voice, run, 0, Returned(0)))
    assert relay.cluster.finish(job) == (0, "", "")


def test_loads_that_nobody_asked_for_are_not_passed_on(relay: Relay, other_node: Identity) -> None:
    """A node's loads become four times as long on their way up: they filled the memory of the rack master."""
    relay.pass_grant()
    port = int(relay.slave.says(r"takes children on port (\d+)").group(1))
    leaf, bulk = join_as(port, other_node, 7)
    relay.down.hear(Arrived)
    own = (Route(()), 0.5)
    leaf.say(Load(0, (own,) * 1000), AskLease(Route(()), b"nonce"))
    while relay.down.hear(AskLease).route != (7,):
        pass
    assert not relay.down.has(Load)
    relay.tell(Poll(3))
    leaf.hear(Poll)
    many = (own,) * 40  # it may have more below it than were known when it was asked
    leaf.say(Load(3, (own,) * 1000), Load(2, (own,)), Load(3, many), Load(3, many), AskLease(Route(()), b"nonce"))
    assert {relay.down.hear(Load).loads[0][0] for _ in range(2)} == {(), (7,)}
    while relay.down.hear(AskLease).route != (7,):
        pass
    assert not relay.down.has(Load)
    leaf.socket.close()
    bulk.socket.close()


def test_a_parent_that_names_millions_of_ranks_gets_no_answer_for_each(relay: Relay) -> None:
    """16 MB of it made 400 MB of answers, which it did not read."""
    relay.pass_grant()
    crowd = Branch(-1, {number: Branch(number, {}) for number in range(100_000)})
    relay.tell(Run(1, 100_000, Signed(b"", bytes(64)), crowd, 1 << 20), Poll(4))
    relay.down.hear(Load)
    refused = [each for each in relay.down.passed_over if isinstance(each, RankEnded)]
    assert max(each.rank for each in refused) <= NODES_BELOW_MAX
