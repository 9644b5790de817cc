"""The rules of the GridFTP master: packets, leases, turns, memory, names, switches."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.adapters.gfork.switches import BadSwitch
from gproc.adapters.gridftp.backends import LEASE_S, MAX_BACKENDS, Backends, entries
from gproc.adapters.gridftp.memory import IDLE, LEAST, Kill, MemoryPool, Share
from gproc.adapters.gridftp.names import may_register, names_in
from gproc.adapters.gridftp.options import RegistryOptions, master_options
from gproc.adapters.gridftp.packets import (
    PACKET_BYTES,
    BadPacket,
    MessageKind,
    Registration,
    answer,
    is_ack,
    memory_limit,
    read_packet,
    released_limit,
)
from gproc.errors import TrustError

MIB = 1 << 20


def packet(contact: bytes = b"node:5000", kind: int = 1, version: bytes = b"a") -> bytes:
    """As Globus' data nodes send it."""
    return version + bytes(5) + bytes([kind]) + struct.pack("!II", 3, 4) + bytes(4 + 127) + contact.ljust(108, b"\0")


def test_a_registration_of_globus_is_understood_and_made_alike() -> None:
    kind, registration = read_packet(packet())
    assert (kind, registration) == (MessageKind.BACKEND, Registration("node:5000", 3, 4))
    assert registration.packet() == packet()


def test_a_server_gets_the_numbers_in_its_own_order_and_a_countdown() -> None:
    message = entries([Registration("a:1", 3, 4), Registration("b:2")])
    assert len(message) == 2 * PACKET_BYTES
    assert struct.unpack_from("=III", message, 7) == (3, 4, 2)
    assert struct.unpack_from("=III", message, PACKET_BYTES + 7) == (0, 0, 1)
    assert message[146:149] == b"a:1"


@pytest.mark.parametrize("contact", [b"node-1.site:5000", b"10.0.0.1:5", b"[::1]:5000", b"x" * 107])
def test_good_contacts_are_taken(contact: bytes) -> None:
    assert read_packet(packet(contact))[1].contact == contact.decode()


@pytest.mark.parametrize(
    "bad",
    [
        packet(b""), packet(b"node_1:5"), packet(b"[::1]"), packet(b"[zz]:1"), packet(b"x" * 108), packet(b"a b"),
        packet(version=b"b"), packet(kind=7), packet(kind=0), packet()[:-1], packet() + b"\0", b"",
    ],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_registration_is_refused(bad: bytes) -> None:
    with pytest.raises(BadPacket):
        read_packet(bad)


@given(st.binary(min_size=PACKET_BYTES, max_size=PACKET_BYTES))
def test_any_packet_is_read_or_refused(data: bytes) -> None:
    try:
        kind, registration = read_packet(b"a" + data[1:6] + bytes([1 + data[6] % 2 * 8]) + data[7:])
    except BadPacket:
        return
    assert read_packet(registration.packet(kind)) == (kind, registration)


def test_an_answer_has_the_size_of_a_registration() -> None:
    assert is_ack(answer(MessageKind.ACK))
    assert not is_ack(answer(MessageKind.NACK))
    assert not is_ack(answer(MessageKind.ACK)[:-1])


def test_a_release_is_understood_as_it_should_be_written_and_as_globus_writes_it() -> None:
    number = struct.pack("=I", 1000)
    assert released_limit(b"a" + bytes(5) + b"\x08" + number) == 1000
    assert released_limit(b"a\x08" + bytes(4) + b"?" + number) == 1000
    assert released_limit(b"b" + bytes(5) + b"\x08" + number) is None
    assert released_limit(b"") is None


def contacts(backends: Backends, count: int, now_s: float = 0) -> list[str]:
    return [each.contact for each in backends.take(count, now_s)]


def test_each_server_gets_the_next_data_nodes() -> None:
    backends = Backends()
    for name in ("b0:1", "b1:1", "b2:1"):
        assert backends.register(Registration(name), 0)
    assert [contacts(backends, 1) for _ in range(4)] == [["b0:1"], ["b1:1"], ["b2:1"], ["b0:1"]]
    assert contacts(backends, 2) == ["b1:1", "b2:1"]
    assert contacts(backends, 0) == ["b0:1", "b1:1", "b2:1"]


def test_a_registration_ends_after_ten_minutes_and_a_refresh_extends_and_changes_it() -> None:
    backends = Backends()
    backends.register(Registration("a:1"), 0)
    backends.register(Registration("b:1"), 0)
    backends.register(Registration("a:1", at_once=9), 300)
    assert backends.expire(LEASE_S - 0.1) == []
    assert backends.expire(LEASE_S) == ["b:1"]
    assert backends.take(0, LEASE_S) == [Registration("a:1", at_once=9)]
    assert backends.take(0, 300 + LEASE_S) == []


def test_a_data_node_that_is_taken_out_is_not_handed_out() -> None:
    backends = Backends()
    backends.register(Registration("a:1"), 0)
    assert backends.remove("a:1")
    assert not backends.remove("a:1")
    assert contacts(backends, 0) == []


def test_there_are_never_more_data_nodes_than_fit_into_a_message() -> None:
    backends = Backends()
    for number in range(MAX_BACKENDS):
        assert backends.register(Registration(f"n{number}:1"), 0)
    assert not backends.register(Registration("one-more:1"), 0)
    assert backends.register(Registration("n7:1"), 0)
    assert len(entries(backends.take(0, 0))) <= 1 << 20


def grants(pool: MemoryPool, pids: range) -> list[int | None]:
    """The limits that servers get one after the other; None for one that is ended, 0 for one that waits."""
    found: list[int | None] = []
    for pid in pids:
        decisions = pool.opened(pid)
        match decisions:
            case [Share(_, limit)]:
                found.append(limit)
            case [Kill()]:
                found.append(None)
                pool.closed(pid)
            case _:
                found.append(0)
    return found


def test_half_a_gigabyte_is_shared_as_by_globus() -> None:
    assert grants(MemoryPool(512 * MIB), range(1, 7)) == [80530636, 80530636, 7287603, 3294276, 1297612, None]


def test_a_small_limit_serves_more_than_one_client() -> None:
    found = grants(MemoryPool(64 * MIB), range(1, 6))
    assert found[0] == 10066329
    assert found[1] is not None and found[1] > 3 * MIB


@pytest.mark.parametrize("gigabytes", [1, 4, 5, 16, 1024])
def test_a_large_memory_serves_its_first_client_with_a_limit_that_fits_its_number(gigabytes: int) -> None:
    (limit,) = grants(MemoryPool(gigabytes << 30), range(1, 2))
    assert limit is not None and 0 < limit < 2**31
    assert struct.unpack_from("=I", memory_limit(limit), 7) == (limit,)


def test_a_server_that_waits_is_tried_again_when_another_ends_and_its_memory_comes_back() -> None:
    pool = MemoryPool(64 * MIB)
    total = pool.available
    pid = 0
    while True:
        pid += 1
        decisions = pool.opened(pid)
        if not decisions:
            break
        if isinstance(decisions[0], Kill):
            pytest.skip("no server waits with this limit")
    assert pool.closed(1)[0].pid == pid
    for each in range(2, pid + 1):
        pool.closed(each)
    assert (pool.available, pool.held) == (total, 0)


@given(
    st.integers(16, 2048),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("ocr"), st.integers(1, 12), st.integers(1, 10**8)), max_size=60),
)
def test_what_is_held_and_what_is_left_is_always_the_whole(
    limit_mib: int, sharers: int, events: list[tuple[str, int, int]]
) -> None:
    pool = MemoryPool(limit_mib * MIB, sharers)
    open_pids: set[int] = set()
    for event, pid, number in events:
        if event == "o" and pid not in open_pids:
            open_pids.add(pid)
            decisions = pool.opened(pid)
        elif event == "c" and pid in open_pids:
            open_pids.discard(pid)
            decisions = pool.closed(pid)
        else:
            pool.released(pid, number)
            decisions = []
        for decision in decisions:
            if isinstance(decision, Kill):
                open_pids.discard(decision.pid)
                pool.closed(decision.pid)
        assert pool.available + pool.held == limit_mib * MIB - LEAST - IDLE
        assert pool.available >= 0


def test_a_file_of_names_is_read_line_by_line_and_letter_for_letter(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text('# nodes\n"gproc://c/node/first" globus\n"node2"\nnode3 user\n\n"node 4"\n')
    assert names_in(file.read_text()) == {"gproc://c/node/first", "node2", "node3", "node 4"}
    for name, allowed in (("node2", True), ("node", False), ("node22", False), ("node3", True)):
        assert may_register(str(file), (name,)) is allowed


@pytest.mark.parametrize("path", ["/nowhere/names", "/dev/zero", "/"])
def test_a_file_that_cannot_be_read_lets_nobody_in(path: str) -> None:
    with pytest.raises(TrustError, match="nobody may register"):
        may_register(path, ("node",))


def test_the_switches_of_the_guides_examples_are_understood() -> None:
    words = ["-port", "6065", "-l", "/var/master.log", "-G", "n", "-dn", "/etc/master_gridmap"]
    assert master_options(words) == RegistryOptions(
        port=6065, log_file="/var/master.log", is_secure=False, names_file="/etc/master_gridmap"
    )
    assert master_options(["-b", "localhost:8588"]).frontend == ("localhost", 8588)
    assert master_options(["--reg-cs=[::1]:8588", "-u", "60"]).frontend == ("::1", 8588)
    assert master_options(["-M", "512M", "-ns", "3", "-s", "2"]) == RegistryOptions(
        memory_bytes=512 * MIB, sharers=3, stripes=2
    )
    assert master_options(["-m"]).memory_bytes == 0
    assert master_options(["-df", "/names"]).is_secure


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-b", "nowhere"], "-reg-cs: expected HOST:PORT, not 'nowhere'"),
        (["-M", "1M"], "-mem-size: 1M is too little for one server; the least is 9M"),
        (["-M", "much"], "-mem-size: expected a size like 512M or 2G, not 'much'"),
        (["-ns", "0"], "-nice-share: expected a whole number from 1 to 1000000, not '0'"),
        (["-port", "x"], "-port: expected a whole number from 0 to 65535, not 'x'"),
        (["-G", "maybe"], "-gsi: expected yes or no, not 'maybe'"),
        (["-stripe", "1"], "there is no switch -stripe; did you mean -stripe-count?"),
    ],
)
def test_a_wrong_switch_is_named_with_its_reason(words: list[str], reason: str) -> None:
    with pytest.raises(BadSwitch) as caught:
        master_options(words)
    assert str(caught.value) == reason
