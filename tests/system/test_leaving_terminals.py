"""A terminal is left by keys or by --detach, and another one attaches to the job."""

from __future__ import annotations

import signal
from typing import Final

import pytest

from gproc.client.keys import DetachKeys
from tests.system.cluster import Cluster
from tests.system.detached import detached
from tests.system.screen import Screen

LEAVE: Final = "\x10\x11"


def test_a_second_terminal_sees_the_job_of_the_first_and_can_end_it(flat: Cluster) -> None:
    first = flat.begin("e", "1", "/bin/sh", "-c", "echo begun; while sleep 0.1; do echo tick; done")
    assert first.stdout is not None
    assert first.stdout.readline() == b"begun\n"
    second, third = (flat.begin("attach", "last", "-n") for _ in range(2))
    for each in (second, third):
        assert each.stdout is not None
        assert each.stdout.readline() == b"tick\n"
    third.send_signal(signal.SIGKILL)
    third.communicate()
    assert second.stdout is not None
    assert second.stdout.readline() == b"tick\n"
    second.send_signal(signal.SIGINT)
    for process in (first, second):
        status, _, stderr = flat.finish(process)
        assert (status, stderr.splitlines()[-1]) == (130, "gproc: 1: killed by SIGINT")


def test_a_terminal_is_left_by_keys_and_another_goes_on_with_the_shell_on_the_node(flat: Cluster) -> None:
    first = Screen(flat, "-t", "--name=shell", "2", "/bin/sh")
    try:
        first.shows(r"\$ ")
        first.type("x=4$((1+1)); echo is $x\n")
        first.shows(r"is 42\s+\$ ")
        first.type(LEAVE)
        first.shows(r"left job \d+, which goes on: gproc attach")
        assert first.ends() == 0
    finally:
        first.close()
    second = Screen(flat, "shell", mode="attach", rows=20, columns=77)
    try:
        second.type("\n")
        second.shows(r"\$ ")
        second.type("echo has $x; stty size\n")
        second.shows(r"has 42\s+20 77")
        second.hang_up()
        second.process.wait()
    finally:
        second.close()
    last = Screen(flat, "shell", mode="attach")
    try:
        last.type("exit 7\n")
        assert last.ends() == 7
    finally:
        last.close()


def test_ctrl_p_alone_reaches_the_program(flat: Cluster) -> None:
    """In a shell it means the line before; it came only with the next key."""
    screen = Screen(flat, "-t", "2", "/bin/sh", "-c", "stty raw -echo; echo ready; dd bs=1 count=1 | od -An -tx1")
    try:
        screen.shows("ready")
        screen.type("\x10")
        screen.shows(r"\b10\b")
        assert screen.ends() == 0
    finally:
        screen.close()


def test_a_detached_terminal_waits_for_somebody_and_the_second_one_sees_only(flat: Cluster) -> None:
    detached(flat, "-t", "--name=shell2", "--env=PS1=$ ", "3", "/bin/sh")
    first = Screen(flat, "shell2", mode="attach")
    first.type("\n")
    first.shows(r"\$ ")
    second = Screen(flat, "shell2", mode="attach")
    try:
        second.shows("another client gives job \\d+ its input")
        second.type("echo from the second\n")
        first.type("echo from the fir''st\n")
        for screen in (first, second):
            screen.shows("from the first")
            assert "second\n" not in screen.seen
        second.type(LEAVE)
        assert second.ends() == 0
        first.type("exit\n")
        assert first.ends() == 0
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize("cut", range(5))
def test_the_keys_that_leave_a_job_are_found_however_they_come(cut: int) -> None:
    typed = b"ab\x10\x11cd"
    keys = DetachKeys()
    parts = [keys.feed(typed[:cut], 0), keys.feed(typed[cut:], 0)] if cut < 4 else [keys.feed(typed, 0)]
    assert b"".join(data for data, _ in parts) == b"ab"
    assert parts[-1][1]
    single = DetachKeys()
    assert [single.feed(b"a\x10", 0), single.feed(b"\x10b", 0), single.feed(b"\x11", 0)] == [
        (b"a", False), (b"\x10\x10b", False), (b"\x11", False),
    ]  # fmt: skip


def test_the_first_key_alone_was_kept_from_a_shell_until_the_next_key() -> None:
    keys = DetachKeys()
    assert (keys.wait_s(5), keys.late(5)) == (None, b"")
    assert keys.feed(b"\x10", 5) == (b"", False)
    assert (keys.wait_s(5.75), keys.late(5.75)) == (0.25, b"")
    assert (keys.wait_s(6), keys.late(6)) == (0, b"\x10")
    assert (keys.wait_s(6), keys.late(9)) == (None, b"")
    assert keys.feed(b"\x11", 9) == (b"\x11", False)
