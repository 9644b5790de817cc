"""A job that no client of ours would ask for is refused or ends, and the master and other jobs go on."""

from __future__ import annotations

import struct

import pytest

from gproc.request.limits import Limits
from gproc.request.spec import BundleName
from gproc.wire import frames, messages
from tests.attack.target import Target, control, submission, unchecked


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
