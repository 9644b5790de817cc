"""A peer that is not gproc, or that breaks the protocol, is dropped; the master, slaves and running jobs go on."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

import pytest

from gproc.request.outcome import Returned
from gproc.wire import frames, messages
from gproc.wire.messages import Route
from tests.attack.peer import Peer, node_named
from tests.attack.target import Target, control, framed

ENDS: Final = ("clients", "master", "slave")
"""The master's Unix socket, its command port, and a slave's command port."""


INSTEAD_OF_A_PREFACE: Final = {
    "garbage": (b"\x00\xffgarbage!", "not a gproc peer: it began with"),
    "a browser": (b"GET / HTTP/1.1\r\n\r\n", "not a gproc peer: it began with"),
    "another version": (
        struct.pack("!5sHB", b"GPROC", 99, 1),
        "the peer speaks version 99 of gproc's protocol, we speak",
    ),
    "another channel": (
        struct.pack("!5sHB", b"GPROC", frames.VERSION, 77),
        "the peer opened channel 77, which does not exist",
    ),
}

INSTEAD_OF_A_MESSAGE: Final = {
    "a frame too long": (
        struct.pack("!IB", 1 << 30, 1),
        r"a frame of 1073741824 bytes, longer than the \d+ that its kind",
    ),
    "a control frame just too long": (struct.pack("!IB", (16 << 20) + 1, 1), "longer than the"),
    "an output frame too long": (struct.pack("!IB", 1 << 20, 2), "longer than the"),
    "an unknown kind": (struct.pack("!IB", 1, 9) + b"x", "a frame of kind 9, which does not exist"),
    "an empty message": (control(b""), "not a message"),
    "no message": (control(b"\xc1\xc1\xc1"), "not a message"),
    "a message of no known type": (control(b"\x91\xcc\xfa"), "not a message"),
    "a message that is too short": (control(b"\x91\x01"), "not a message"),
    "a message out of order": (framed(messages.Finished(1, 0, Returned(0))), "not a message"),
    "a shutdown": (framed(messages.Shutdown("now")), "not a message"),
    "a frame with half a header": (
        struct.pack("!IB", 3, 2) + b"abc",
        "a STDIO frame of 3 bytes is shorter than its header",
    ),
    "a stream that does not exist": (
        frames.stdio_frame(1, 0, 7, 0, b"x"),
        "a STDIO frame for stream 7, which does not exist",
    ),
    "output": (frames.stdio_frame(1, 0, 1, 0, b"x"), "output from a client|unexpected data of stream 1"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", INSTEAD_OF_A_PREFACE)
def test_a_connection_that_begins_with_this_is_refused(target: Target, end: str, what: str) -> None:
    said, reason = INSTEAD_OF_A_PREFACE[what]
    mark = target.listening(end).mark()
    with target.open(end) as peer:
        peer.raw(said).hear_the_end()
    target.listening(end).says(f"refused .*: {reason}", since=mark)
    target.goes_on()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", INSTEAD_OF_A_MESSAGE)
def test_a_connection_whose_first_message_is_this_is_refused(target: Target, end: str, what: str) -> None:
    said, reason = INSTEAD_OF_A_MESSAGE[what]
    mark = target.listening(end).mark()
    with target.greeted(end) as peer:
        peer.raw(said).hear_the_end()
    target.listening(end).says(f"refused .*(: |; |, )?({reason})", since=mark)
    target.goes_on()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (end, said)
        for end in ENDS
        for said in (b"", frames.preface(1)[:3], frames.preface(3))
        if (end, said) != ("clients", frames.preface(3))  # it asked whether a master is here, which is no fault
    ],
)
def test_a_connection_that_ends_before_its_first_message_is_logged(target: Target, end: str, said: bytes) -> None:
    mark = target.listening(end).mark()
    with target.open(end) as peer:
        if end == "clients":
            peer.hear_preface()  # else the master may find it closed before that, and says another thing
        peer.raw(said)
    target.listening(end).says("refused .*: .*closed the connection", since=mark)
    target.goes_on()


@pytest.mark.parametrize("end", ENDS)
def test_a_connection_that_ends_in_the_middle_of_a_frame_is_logged(target: Target, end: str) -> None:
    mark = target.listening(end).mark()
    with target.greeted(end) as peer:
        peer.raw(framed(messages.Inquire(1))[:-1])
    target.listening(end).says("refused .*: .*closed the connection in the middle of a frame", since=mark)
    target.goes_on()


@pytest.mark.parametrize("end", ["master", "slave"])
def test_a_command_port_refuses_bytes_that_are_not_tls(target: Target, end: str) -> None:
    mark = target.listening(end).mark()
    port = target.cluster.port if end == "master" else target.cluster.slaves[0].port
    with Peer(socket.create_connection(("127.0.0.1", port))) as peer:
        peer.raw(b"GET / HTTP/1.1\r\n\r\n" * 10).hear_the_end()
    target.listening(end).says("refused .*: it does not speak TLS", since=mark)
    target.goes_on()


@pytest.mark.parametrize("end", ["master", "slave"])
@pytest.mark.parametrize(
    "message",
    [
        messages.Inquire(1),
        messages.SignalJob(1, 9),
        messages.Credit(1, 1, 1),
        messages.Granted(Route(()), messages.Signed(b"", b"")),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_child_that_sends_a_message_of_others_is_dropped(target: Target, end: str, message: messages.Message) -> None:
    mark = target.listening(end).mark()
    with target.greeted(end) as peer:
        peer.say(messages.Join(os.urandom(16), 9, True, node_named(target.identity.name)))
        peer.hear(messages.Welcome)
        peer.say(message)
        if isinstance(message, messages.Credit):
            return  # of a job that is over: both sides may be right
        peer.hear_the_end()
    target.listening(end).says("node 9 left: .*not a message of a child", since=mark)
    target.goes_on()


@pytest.mark.slow
def test_a_silent_peer_is_dropped_after_ten_seconds(target: Target) -> None:
    """At all ends at once: before the preface, after it, in the middle of a frame, and as a child without bulk."""
    half = framed(messages.Inquire(1))[:-1]
    ways: tuple[Callable[[str], Peer], ...] = (
        target.open,
        lambda end: target.open(end).raw(frames.preface(1)[:3]),
        target.greeted,
        lambda end: target.greeted(end).raw(half),
    )
    marks = {end: target.listening(end).mark() for end in ENDS}
    silent = [way(end) for way in ways for end in ENDS]
    child = target.greeted("master").say(messages.Join(os.urandom(16), 9, True, node_named(target.identity.name)))
    target.goes_on()
    for peer in (*silent, child):
        peer.hear_the_end()
        peer.socket.close()
    for end in ENDS:
        target.listening(end).says("refused .*sent no preface for 10 s", times=2, since=marks[end])
        target.listening(end).says("refused .*sent nothing for 10 s", since=marks[end])
        target.listening(end).says("refused .*sent half a frame and then nothing for 10 s", since=marks[end])
    target.cluster.master.says("node 9 left: .*sent nothing for 4 s", since=marks["master"])
    target.goes_on()


def test_a_refusal_is_one_line_of_the_log(target: Target) -> None:
    """Each stood there twice, and the log takes so many of a user."""
    before = len(target.cluster.master.said("refused a client"))
    for number in (1, 2):
        with target.open("clients") as client:
            client.raw(b"GET /%d HTTP/1.0\r\n" % number).hear_the_end()
    target.goes_on()  # the log has all of that
    target.cluster.master.says("not a gproc peer", times=2)
    assert len(target.cluster.master.said("refused a client")) == before + 2
