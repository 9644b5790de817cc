"""Small requests in great numbers, by many connections of one user, leave the others their turns.

No time is asserted: before that the master stood still for longer than the tests' patience, and nodes left it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gproc.node.voice import Voice
from gproc.trust.identity import Identity
from gproc.wire import frames, messages
from gproc.wire.job_messages import ViewJob
from gproc.wire.messages import Route
from gproc.wire.tasks import Setup, order_record
from tests.attack.peer import ANY, Peer, join_as, node_of
from tests.attack.target import submission
from tests.attack.test_neighbours import another_user, client
from tests.system.cluster import NOBODY, Cluster, Daemon

CONNECTIONS = 30
PIECES = 30_000
QUESTIONS = 20_000
PAIRS = 200_000


def typed(job: int) -> bytes:
    return b"".join(frames.stdio_frame(job, frames.EVERY_RANK, frames.STDIN, at, b"x") for at in range(PIECES))


def signals(job: int) -> bytes:
    return messages.frame(messages.SignalJob(job, 18)) * PIECES


def flood(peer: Peer, data: bytes) -> None:
    with suppress(OSError):
        peer.raw(data)


@pytest.mark.parametrize("flooding", [typed, signals])
def test_small_requests_in_great_numbers_do_not_stop_other_users(
    cluster: Cluster, root_only: None, flooding: Callable[[int], bytes]
) -> None:
    """Each byte of input was signed, and each signal sent to all nodes, thousands at a time for each connection."""
    slave = cluster.slave(1)
    with ExitStack() as attack:
        threads = []
        for _ in range(CONNECTIONS):
            with another_user():
                peer = attack.enter_context(client(cluster))
            peer.say(submission(nodes="1", argv=(b"/bin/sleep", b"1000"), stdin=True))
            data = flooding(peer.hear(messages.Accepted).job)
            threads.append(threading.Thread(target=flood, args=(peer, data)))
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert cluster.exec("-localbin", "1", "/bin/true").returncode == 0
    for thread in threads:
        thread.join()
    assert not slave.said("lost the parent")


def test_a_user_who_does_not_read_refusals_is_dropped(cluster: Cluster, root_only: None) -> None:
    """Each names the nodes that were asked for, 32 KiB at most, and stayed in the master's memory."""
    cluster.slave(1)
    refused = submission(nodes=",".join(map(str, range(100, 3000, 2))), argv=(b"x" * 100_000,) * 4)
    frame = messages.frame(refused)
    with another_user(), client(cluster) as peer:
        threading.Thread(target=flood, args=(peer, frame * 1000), daemon=True).start()
        cluster.master.says(r"ended the connection of a client of uid 65534: it does not read its answers")


def test_a_user_who_does_not_read_what_views_show_is_dropped(cluster: Cluster, root_only: None) -> None:
    cluster.slave(1)
    assert cluster.exec("-localbin", "1", "/bin/true", *["x" * 1000] * 100, uid=NOBODY).returncode == 0
    question = messages.frame(ViewJob(1, "last", "", output=False, start=False))
    with another_user(), client(cluster) as peer:
        threading.Thread(target=flood, args=(peer, question * 100_000), daemon=True).start()
        cluster.master.says(r"ended the connection of a client of uid 65534: it does not read its answers")
    done = cluster.command("wait", "last", uid=NOBODY)
    assert done.returncode == 0, done.stderr


def test_an_order_about_tasks_with_levels_without_end_takes_no_node_from_its_parent(cluster: Cluster) -> None:
    slave = cluster.slave(1)
    body = b"\x93\x02\x90" + b"\x91" * 200_000 + b"\xc0"
    orders = order_record(Setup(1)) + struct.pack("!II", len(body), frames.EVERY_RANK) + body
    with client(cluster) as peer:
        peer.say(submission(nodes="1", argv=(b"/bin/true",), stdin=True, action="map"))
        job = peer.hear(messages.Accepted).job
        peer.raw(frames.stdio_frame(job, frames.EVERY_RANK, frames.STDIN, 0, orders))
        assert "not an order about tasks" in str(peer.hear(messages.Finished).outcome)
    assert not slave.said("lost the parent")
    assert not slave.said("Traceback")


def test_questions_of_a_node_in_great_numbers_do_not_stop_other_nodes(cluster: Cluster, this_node: Identity) -> None:
    """Each answer is signed, and a node's connection could have a thousand answered before anybody else's was read."""
    slave = cluster.slave(2)
    questions = messages.frame(messages.AskLease(Route(()), b"nonce")) * QUESTIONS
    with ExitStack() as attack:
        threads = []
        for number in range(3, 6):
            control, bulk = join_as(cluster.port, this_node, number)
            attack.enter_context(control)
            attack.enter_context(bulk)
            control.hear(messages.Granted)
            threads += [
                threading.Thread(target=flood, args=(control, questions)),
                threading.Thread(target=swallow, args=(control,)),
            ]
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert cluster.exec("-localbin", "2", "/bin/true").returncode == 0
        for thread in threads[::2]:
            thread.join()
    for thread in threads:
        thread.join()
    assert not slave.said("lost the parent")


def swallow(peer: Peer) -> None:
    """Read what comes until the connection ends."""
    with suppress(OSError):
        while peer.socket.recv(1 << 16):
            pass


def test_nodes_that_are_said_to_come_and_go_without_end_cost_the_others_of_the_rack_nothing(
    cluster: Cluster, other_node: Identity
) -> None:
    """The rack master kept all of it for the master: 480 MB after 12 s.  What its other nodes said came behind it, a
    minute later."""
    above = cluster.slave(1)
    cluster.slave(2, parent=above)
    control, bulk = join_as(above.port, other_node, 3)
    with control, bulk:
        control.hear(messages.Granted)
        come = messages.Arrived(Route((1,)), node_of(other_node, Voice()))
        pair = messages.frame(come) + messages.frame(messages.Left(Route((1,)), "has gone"))
        threads = [
            threading.Thread(target=flood, args=(control, pair * PAIRS)),
            threading.Thread(target=swallow, args=(control,)),
        ]
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert cluster.exec("-localbin", "=1/2", "/bin/echo", "well").stdout == b"well\n"
        size_mb = resident_mb(above)
        with suppress(OSError):  # the rack master may have ended it
            control.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
    assert size_mb < 100


def resident_mb(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def test_questions_of_a_node_in_great_numbers_do_not_cost_the_node_above_it_its_lease(
    cluster: Cluster, this_node: Identity
) -> None:
    """They filled the only connection of that node to the master, which signs each answer.  After a minute of them that
    node had no lease any more, and its jobs were lost."""
    above = cluster.slave(1)
    control, bulk = join_as(above.port, this_node, 3)
    with control, bulk:
        control.hear(messages.Granted)
        answers: list[int] = []
        hearing = threading.Thread(target=lambda: answers.append(count_leases(control)))
        hearing.start()
        control.raw(messages.frame(messages.AskLease(Route(()), b"nonce")) * QUESTIONS)
        assert cluster.exec("-localbin", "1", "/bin/echo", "well").stdout == b"well\n"
        control.say(messages.Goodbye("has asked enough"))
        hearing.join()
    assert 0 < answers[0] < QUESTIONS // 10


def count_leases(peer: Peer) -> int:
    """How many come until the connection ends."""
    reader, leases = frames.FrameReader(), 0
    with suppress(OSError):
        while count := peer.socket.recv_into(reader.space()):
            for kind, payload in reader.frames(count):
                leases += kind == frames.KIND_CONTROL and isinstance(ANY.decode(payload), messages.Leased)
    return leases
