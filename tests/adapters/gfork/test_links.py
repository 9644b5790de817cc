"""Messages between masters and children, by way of gfork: what arrives, where, in which order, and what is bounded."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.adapters.gfork.frames import CLOSED, DATA, MAX_BODY, OPENED, BrokenLink, Frame, LinkReader
from gproc.adapters.gfork.masters import pause_s
from gproc.adapters.gfork.outbox import FULL_BYTES, Outbox
from gproc.adapters.gfork.routing import Destinations, Routing
from gproc.adapters.gfork.switchboard import Switchboard
from tests.adapters.gfork.running import Gfork, Puppet
from tests.loop import run

PIDS = st.integers(-(2**31), 2**31 - 1)
FRAMES = st.one_of(
    st.builds(Frame, st.just(DATA), PIDS, PIDS, st.binary(max_size=40)),
    st.builds(Frame, st.sampled_from([OPENED, CLOSED]), PIDS, PIDS),
)


def test_the_header_is_that_of_globus() -> None:
    assert Frame(DATA, 7, -1, b"abc").encode() == struct.pack("=QiiI4x", 3, 7, -1, ord("D")) + b"abc"


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_frames_arrive_however_they_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    wire = b"".join(frame.encode() for frame in frames)
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    reader = LinkReader()
    found = [frame for start, end in itertools.pairwise(edges) for frame in reader.feed(wire[start:end])]
    assert found == frames
    assert not reader.is_inside


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_bounded(garbage: bytes) -> None:
    reader = LinkReader()
    try:
        for byte in garbage:
            for frame in reader.feed(bytes([byte])):
                assert len(frame.body) <= MAX_BODY
    except BrokenLink:
        pass


def test_an_outbox_owes_nothing_for_a_child_that_came_and_went() -> None:
    outbox = Outbox()
    outbox.push(Frame(OPENED, 1, 0).encode(), about=1)
    assert outbox.next_bytes()
    outbox.wrote(3)
    assert not outbox.withdraw(1)  # it is partly written
    outbox.push(Frame(OPENED, 2, 0).encode(), about=2)
    outbox.push(Frame(OPENED, 3, 0).encode(), about=3)
    outbox.push(Frame(DATA, 3, -1, b"x").encode(), about=3)
    assert outbox.withdraw(2)
    assert not outbox.withdraw(3)  # its message would come from nobody
    assert len(outbox) == 24 - 3 + 24 + 25


@given(st.lists(st.tuples(st.sampled_from(["push", "write"]), st.integers(1, 60)), max_size=40))
def test_an_outbox_gives_out_what_was_pushed(steps: list[tuple[str, int]]) -> None:
    outbox, pushed, written = Outbox(), b"", b""
    for step, size in steps:
        if step == "push":
            message = bytes([size]) * size
            outbox.push(message)
            pushed += message
        else:
            chunk = bytes(outbox.next_bytes()[:size])
            outbox.wrote(len(chunk))
            written += chunk
        assert len(outbox) == len(pushed) - len(written)
    assert pushed.startswith(written)


@pytest.mark.parametrize(
    ("sender", "to", "expected"),
    [
        ("child", 0, Destinations(masters=(0, 1))),
        ("child", -1, Destinations(masters=(0, 1))),
        ("child", -7, Destinations(masters=(0, 1))),
        ("child", 11, Destinations(children=(11,))),
        ("child", 99, Destinations()),
        ("master", 0, Destinations(children=(10, 11, 12))),
        ("master", -1, Destinations(children=(10, 11, 12))),
        ("master", -11, Destinations(children=(10, 12))),
        ("master", 12, Destinations(children=(12,))),
        ("master", 99, Destinations()),
    ],
)
def test_the_table_of_destinations_holds(sender: str, to: int, expected: Destinations) -> None:
    routing = Routing()
    routing.add_master(0)
    routing.add_master(1)
    for pid in (10, 11, 12):
        assert routing.child_opened(pid) == (0, 1)
    found = routing.from_child(10, to) if sender == "child" else routing.from_master(0, to)
    assert found == expected


def test_a_new_master_does_not_know_the_children_of_the_one_before() -> None:
    routing = Routing()
    routing.add_master(0)
    routing.add_master(1)
    routing.child_opened(10)
    assert routing.master_ended(0) == ()
    assert routing.from_child(10, -1) == Destinations(masters=(1,))
    routing.child_opened(11)
    assert routing.from_child(11, -1) == Destinations(masters=(0, 1))
    assert routing.master_ended(1) == (10,)
    assert routing.child_closed(11) == (0,)


def test_pauses_between_starts_double_up_to_a_minute() -> None:
    assert [pause_s(failures) for failures in (1, 2, 3, 6, 7, 8, 1000)] == [1, 2, 4, 32, 60, 60, 60]


def opened(master: Puppet) -> int:
    kind, pid, _, body = master.receive()
    assert (kind, body) == ("O", "")
    return int(pid)


def test_messages_go_where_the_table_says(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master = gfork.master()
        one, two, three = gfork.child(), gfork.child(), gfork.child()
        pids = [one.pid, two.pid, three.pid]
        assert sorted(opened(master) for _ in range(3)) == sorted(pids)
        one.send(-1, "to the master", claim=1)
        assert master.receive() == ["D", one.pid, -1, "to the master"]  # not from 1, as it claims
        one.send(two.pid, "to another child")
        assert two.receive() == ["D", one.pid, two.pid, "to another child"]
        master.send(0, "to all")
        master.send(-two.pid, "to all but one")
        master.send(999_999, "to nobody")
        master.send(two.pid, "")
        master.send(two.pid, "", kind="O")
        master.send(two.pid, "to one")
        for child in (one, three):
            assert child.receive() == ["D", master.pid, 0, "to all"]
            assert child.receive() == ["D", master.pid, -two.pid, "to all but one"]
        assert two.receive() == ["D", master.pid, 0, "to all"]
        assert two.receive() == ["D", master.pid, two.pid, "to one"]  # and neither an empty one nor a child's O before


def test_two_masters_both_know_and_both_hear(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=2) as gfork:
        masters = [gfork.master(0), gfork.master(1)]
        child = gfork.child()
        child.send(-1, "hello")
        for master in masters:
            assert opened(master) == child.pid
            assert master.receive() == ["D", child.pid, -1, "hello"]
            master.send(child.pid, "back")
        assert {child.receive()[1] for _ in masters} == {master.pid for master in masters}
        pid = child.pid
        child.order("exit", status=0)
        for master in masters:
            assert master.receive() == ["C", pid, 0, ""]


def test_what_a_child_wrote_before_it_ended_arrives_between_its_beginning_and_its_end(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master = gfork.master()
        for _ in range(25):
            child = gfork.child()
            child.order("send", to=-1, body="last words ", repeat=5_000)
            child.order("exit", status=0)
            pid = opened(master)
            assert master.receive() == ["D", pid, -1, "last words " * 5_000]
            assert master.receive() == ["C", pid, 0, ""]


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (struct.pack("=QiiI4x", 2**62, 0, -1, ord("D")), "a message of 4,611,686,018,427,387,904 bytes"),
        (b"GET / HTTP/1.0\r\n\r\n\r\n\r\n\r\n", "a message of type"),
    ],
    ids=["huge", "http"],
)
def test_a_child_that_sends_garbage_loses_its_link_and_nobody_else_does(
    garbage: bytes, reason: str, tmp_path: Path
) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master = gfork.master()
        bad, good = gfork.child(), gfork.child()
        assert {opened(master), opened(master)} == {bad.pid, good.pid}
        bad.ask("raw", data=garbage.hex())
        assert f"child {bad.pid} loses its link: {reason}" in gfork.logged("loses its link")
        assert bad.receive() is None
        good.send(-1, "still here")
        assert master.receive() == ["D", good.pid, -1, "still here"]
        pid = bad.pid
        bad.order("exit", status=0)
        assert master.receive() == ["C", pid, 0, ""]


def test_a_master_that_ends_is_started_again_and_its_children_learn_of_it(tmp_path: Path) -> None:
    with Gfork(tmp_path, " instances = 2", masters=1) as gfork:
        first = gfork.master()
        child = gfork.child()
        assert opened(first) == child.pid
        pid = first.pid
        first.order("exit", status=3)
        assert "ended, status 3; it is started again in 1 s" in gfork.logged("is started again")
        assert child.receive() == ["C", pid, child.pid, ""]
        assert child.receive() is None  # the end of its link
        meanwhile = gfork.child()  # the limit is as before, and the next master is told
        with gfork.dial() as third:
            assert third.makefile("rb").read() == b"421 Too busy!\r\n"
        second = gfork.master()
        assert opened(second) == meanwhile.pid
        second.send(meanwhile.pid, "hello")
        assert meanwhile.receive() == ["D", second.pid, meanwhile.pid, "hello"]
        assert child.pid  # it serves its client as before


def test_a_master_that_closes_its_link_or_breaks_the_protocol_is_replaced(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        first = gfork.master()
        first.order("close", end="WRITE")
        gfork.logged("closed its link; it is ended")
        assert first.is_over()
        second = gfork.master()
        second.order("raw", data=(b"x" * 24).hex())
        gfork.logged("a message of type 0x78787878; it is ended")
        assert second.is_over()


def test_what_a_child_leaves_behind_on_its_link_does_not_keep_it_open(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master = gfork.master()
        haunted = gfork.child()
        pid = haunted.pid
        assert opened(master) == pid
        haunted.ask("haunt")
        haunted.order("exit", status=0)
        assert master.receive() == ["C", pid, 0, ""]
        assert gfork.child().pid


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_a_flood_to_a_master_that_does_not_read_costs_bounded_memory_and_others_are_served(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master = gfork.master()
        flood, other, third = gfork.child(), gfork.child(), gfork.child()
        pids = [flood.pid, other.pid, third.pid]
        before = resident_kb(gfork.process.pid)
        flood.order("send", to=-1, body="x", repeat=64 << 10, times=100)  # 6 MiB
        other.send(third.pid, "unhindered")
        assert third.receive() == ["D", pids[1], pids[2], "unhindered"]
        fourth = gfork.child()
        assert fourth.pid
        assert resident_kb(gfork.process.pid) - before < 16 * (FULL_BYTES >> 10)
        received = [master.receive()[:2] for _ in range(104)]
        assert received.count(["D", pids[0]]) == 100
        assert received.index(["O", pids[0]]) < received.index(["D", pids[0]])
        assert flood.answer() is None


def test_a_child_that_does_not_read_loses_its_link_in_time_and_others_get_their_messages() -> None:
    said: list[str] = []

    async def work() -> None:
        board = Switchboard(said.append, stall_s=0.2)
        board.add_master(0, lambda reason: None)
        master = board.open_master(0)
        board.start_master(0, 1)
        ends = {}
        for pid in (10, 11):  # nobody reads what is for 10
            link, ends[pid] = board.open_child()
            board.start_child(pid, link)
        flood = b"".join([Frame(DATA, 0, 10, b"x" * 65_536).encode()] * 10 + [Frame(DATA, 0, 11, b"after").encode()])
        await asyncio.gather(asyncio.to_thread(write_all, master.write, flood), read_frame(ends[11].read, b"after"))
        board.remove_master(0)

    run(work())
    assert said == ["child 10 loses its link: it read nothing for 0.2 s while others sent to it"]


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


async def read_frame(fd: int, body: bytes) -> None:
    received = await asyncio.to_thread(os.read, fd, 24 + len(body))
    assert received[24:] == body
