"""What is no gproc, or none any more, is told apart and dropped; master, slaves and running jobs go on."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from gproc.request.limits import Limits
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName, Request
from gproc.trust.identity import Identity, load_identity
from gproc.wire import frames, messages, tags
from gproc.wire.messages import Route
from tests.attack.peer import Peer, dial, dial_unix, node_named
from tests.system.cluster import Cluster, Daemon

ENDS: Final = ("clients", "master", "slave")
"""The master's Unix socket, its command port, and a slave's command port."""


class Target:
    """A cluster with a job that goes on, whatever happens around it."""

    def __init__(self, place: Path) -> None:
        self.cluster = Cluster(place)
        self.cluster.start_master()
        self.cluster.slave(1)
        self.identity: Identity = load_identity(str(self.cluster.home), "node", socket.gethostname())
        self._job = self.cluster.begin("e", "1", "/bin/cat", stdin=subprocess.PIPE)
        self._lines = 0
        self.goes_on()

    def goes_on(self) -> None:
        """The job still echoes, and the master still answers."""
        assert self._job.stdin is not None
        assert self._job.stdout is not None
        self._lines += 1
        self._job.stdin.write(b"%d\n" % self._lines)
        self._job.stdin.flush()
        assert self._job.stdout.readline() == b"%d\n" % self._lines
        assert self.cluster.states() == {"1": "up"}

    def listening(self, end: str) -> Daemon:
        return self.cluster.slaves[0] if end == "slave" else self.cluster.master

    def open(self, end: str) -> Peer:
        """A connection on which nothing was said; on a command port, with a node's certificate."""
        if end == "clients":
            return dial_unix(self.cluster.socket)
        return dial(self.cluster.port if end == "master" else self.cluster.slaves[0].port, self.identity)

    def greeted(self, end: str) -> Peer:
        return self.open(end).greet(frames.CHANNEL_CLIENT if end == "clients" else frames.CHANNEL_CONTROL)

    def close(self) -> None:
        assert self.cluster.finish(self._job) == (0, "", "")
        self.cluster.stop()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    target = Target(tmp_path_factory.mktemp("target") / "c")
    yield target
    target.close()


def control(payload: bytes) -> bytes:
    return frames.header(frames.KIND_CONTROL, len(payload)) + payload


def framed(message: messages.Message) -> bytes:
    return messages.frame(message)


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


def asked(**changes: object) -> Request:
    return Request(**{"nodes": "1", "argv": (b"/bin/true",), **changes})  # type: ignore[arg-type]


def submission(**changes: object) -> messages.Submit:
    return messages.Submit(1, asked(**changes))


def unchecked(**changes: object) -> bytes:
    """The same as a frame, without the checks that our own end makes when it builds a request."""
    genuine = asked()
    fields = {name: getattr(genuine, name) for name in Request.__struct_fields__}
    tag = tags.TAGS["Submit"]
    return control(msgspec.msgpack.encode([tag, 1, list({**fields, **changes}.values())]))


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ()},
        {"argv": (b"/bin/echo", b"\0")},
        {"env": (b"A=\0",)},
        {"cwd": b"relative"},
        {"cwd": b""},
        {"cwd": b"//../../x/./y"},
        {"cwd": b"/../../../etc/x.d"},
        {"cwd": b"/" + b"x" * 5000},
        {"bin_root": b"/a/../b"},
        {"bundle": (b"short", 1)},
        {"umask": 0o1000},
        {"limits": Limits(max_procs=-1, mem_bytes=-1, cpus=-1, nice=-100)},
        {"limits": Limits(max_procs=1 << 62, mem_bytes=1 << 62, cpus=1 << 62, nice=1 << 62)},
        {"limits": Limits(cpus=1 << 62)},
        {"limits": Limits(nice=1 << 62)},
        {"limits": Limits(max_procs=0)},
        {"limits": Limits(mem_bytes=-1)},
        {"umask": -1},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"timeout_s": -1.0},
    ],
    ids=str,
)
def test_a_job_that_no_client_of_ours_would_ask_for_is_refused(target: Target, changes: dict[str, object]) -> None:
    with target.greeted("clients") as peer:
        peer.raw(unchecked(**changes)).hear_the_end()
    target.goes_on()


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"nodes": "1-"}, 2, "node specification"),
        ({"nodes": ""}, 2, "node specification"),
        ({"exclude": "x"}, 2, "node specification"),
        ({"nodes": "5"}, 125, "not connected: 5"),
    ],
)
def test_a_wrong_specification_is_answered(
    target: Target, changes: dict[str, object], status: int, reason: str
) -> None:
    with target.greeted("clients") as peer:
        rejected = peer.say(submission(**changes)).hear(messages.Rejected)
    assert rejected.status == status
    assert reason in rejected.reason
    target.goes_on()


@pytest.mark.parametrize(
    "changes",
    [
        {"env": (b"", b"=", b"NOEQUALS", b"A=1", b"A=2")},
        {"argv": (b"/",)},
        {"argv": (b"",)},
        {"argv": (b"/bin/true\xff\xfe",)},
        {"bundle": BundleName(b"s" * 32, 1)},
        {"argv": (b"/" + b"x" * 5000,)},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_strange_job_ends(target: Target, changes: dict[str, object]) -> None:
    with target.greeted("clients") as peer:
        peer.say(submission(**changes))
        number = peer.hear(messages.Accepted).job
        if changes.get("bundle"):
            peer.say(messages.Unavailable(peer.hear(messages.Want).bundle, (), "lost it"))
        assert peer.hear(messages.Finished).job == number
    target.goes_on()


@pytest.mark.parametrize("signum", [0, -1, 13, 19, 64, 1 << 40])
def test_a_signal_that_no_job_can_be_sent_costs_its_sender_the_connection(target: Target, signum: int) -> None:
    unchecked_signal = b"\x93\x15\x01" + (b"\xd3" + struct.pack("!q", signum))
    with target.greeted("clients") as peer:
        peer.say(submission(argv=(b"/bin/sleep", b"1000"))).hear(messages.Accepted)
        peer.raw(control(unchecked_signal)).hear_the_end()
    target.goes_on()
    assert len(target.cluster.job_processes()) == 1


def test_input_beyond_what_was_granted_costs_its_sender_the_connection(target: Target) -> None:
    with target.greeted("clients") as peer:
        accepted = peer.say(submission(argv=(b"/bin/sleep", b"1000"), stdin=True)).hear(messages.Accepted)
        frame = frames.stdio_frame(accepted.job, frames.EVERY_RANK, frames.STDIN, 0, b"x" * frames.MAX_STDIO_BYTES)
        with pytest.raises(OSError):
            for _ in range(200 * accepted.window_bytes // frames.MAX_STDIO_BYTES):
                peer.raw(frame)
    target.goes_on()


def test_a_command_cannot_write_lines_into_the_masters_log(target: Target) -> None:
    mark = target.cluster.master.mark()
    with target.greeted("clients") as peer:
        peer.say(submission(argv=(b"/bin/true", b"\n12:00:00 shutting down\x1b[2J"))).hear(messages.Finished)
    line = target.cluster.master.says(r"job \d+: uid \d+ on 1: /bin/true ", since=mark).string
    assert r"\n12:00:00 shutting down\x1b[2J" in line


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


def test_a_socket_path_that_is_too_long_is_reported(target: Target) -> None:
    path = "/tmp/" + "x" * 120
    for mode, words in (
        ("e", ("1", "/bin/true")),
        ("i", ()),
        ("m", ("-cmdport=0", f"--store={target.cluster.place}/x")),
    ):
        done = target.cluster.command(mode, f"--socket={path}", *words)
        assert done.returncode == 125
        assert b"too long for the kernel" in done.stderr or b"more than the 107" in done.stderr
        assert done.stderr.splitlines()[-1].startswith(b"gproc: the socket's path ")


@pytest.mark.parametrize("mode", [("e", "1", "/bin/true"), ("i",)])
def test_a_missing_master_is_reported(target: Target, mode: tuple[str, ...]) -> None:
    done = target.cluster.command(*mode[:1], "--socket=/tmp/no-such-master", *mode[1:])
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"gproc: no master is listening at /tmp/no-such-master: start one with 'gproc m'\n"


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("e", "1-", "/bin/true"), 2, "node specification: "),
        (("e", "-f", "/no/such/file", "1", "/bin/true"), 125, "/no/such/file"),
        (("s", "-locale=nowhere"), 125, "nowhere"),
        (("s", "-locale=kane"), 125, "kane"),
        (("m", "-binRoot=relative"), 2, "relative"),
        (("e", "1"), 2, ""),
    ],
)
def test_a_wrong_command_line_is_one_clear_message(
    target: Target, words: tuple[str, ...], status: int, reason: str
) -> None:
    mode, *rest = words
    cluster = target.cluster
    if mode == "s":
        slave = cluster.launch_slave(*rest)
        told, text = slave.wait(), slave.log
        cluster.forget(slave)
    else:
        done = cluster.command(mode, *rest)
        told, text = done.returncode, done.stderr.decode()
    assert told == status, text
    assert text.startswith("gproc: ")
    assert reason in text


def test_a_refusal_is_one_line_of_the_log(target: Target) -> None:
    """Each stood there twice, and the log takes so many of a user."""
    before = len(target.cluster.master.said("refused a client"))
    for number in (1, 2):
        with target.open("clients") as client:
            client.raw(b"GET /%d HTTP/1.0\r\n" % number).hear_the_end()
    target.goes_on()  # the log has all of that
    target.cluster.master.says("not a gproc peer", times=2)
    assert len(target.cluster.master.said("refused a client")) == before + 2
