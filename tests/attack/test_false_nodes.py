"""A node cannot take the place of another one, make up nodes, or announce more of them than it may."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from msgspec.structs import replace

from gproc.node.voice import Voice
from gproc.nodespec import LEVELS_MAX
from gproc.relay.belonging import most_below
from gproc.trust.authority import open_authority, provision
from gproc.trust.identity import Identity, load_identity
from gproc.wire import frames, messages
from gproc.wire.messages import Arrived, Granted, Route
from tests.attack.peer import (
    PING_S,
    Peer,
    dial,
    join_as,
    node_named,
    node_of,
    ping,
)
from tests.system.cluster import Cluster


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
    """What the master says of its nodes.  Meanwhile these peers ping: without that a busy machine lost them."""
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
    """Below a rack master: the master refuses a node that proves nothing, but a node on the way keeps it."""
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
