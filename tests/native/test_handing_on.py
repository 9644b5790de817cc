"""Nodes hand a runtime on to each other: whole, or the front end sends it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc import native
from gproc.start.script import order_to_fetch
from tests.native.bootstrap import TOKEN, runtimes
from tests.native.handing_on import (
    ARCHIVE,
    HALF,
    await_part,
    begun,
    fetching,
    giving_and_waiting,
    helper_with,
    interrupted,
    peer,
    request,
    source,
    told,
    whole,
)
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_node_gets_the_runtime_from_another_and_hands_it_on_itself(helper: str, place: Path, address: str) -> None:
    if address == "::1" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("needs IPv6")
    with source(helper, place) as port:
        run = fetching(helper, place, port, address=address)
        assert whole(run, place) not in (0, port)
        run.end()


def test_a_node_that_has_a_half_asks_another_for_the_rest_only(helper: str, place: Path) -> None:
    interrupted(helper, place)
    with source(helper, place) as port:
        run = begun(helper, place)
        assert run.answer() == f"need {HALF}"
        run.send(order_to_fetch("127.0.0.1", port, TOKEN))
        whole(run, place)
        run.end()


def test_nothing_is_handed_on_when_the_front_end_is_gone(helper: str, place: Path) -> None:
    with source(helper, place) as port:
        socket.create_connection(("127.0.0.1", port)).close()
    until_s = time.monotonic() + PATIENCE_S
    with pytest.raises(ConnectionRefusedError):
        while time.monotonic() < until_s:
            socket.create_connection(("127.0.0.1", port)).close()


def test_a_node_gets_what_another_has_while_the_rest_is_on_its_way_there(helper: str, place: Path) -> None:
    own = place.parent / "source"
    own.mkdir(0o700)
    source_run = begun(helper, own)
    assert source_run.answer() == "need 0"
    source_run.give(ARCHIVE[:HALF])
    run = fetching(helper, place, source_run.port)
    await_part(place, HALF)
    source_run.send(ARCHIVE[HALF:])
    assert whole(run, place) not in (0, source_run.port)
    assert whole(source_run, own) == source_run.port, "a node that asks later finds it at the same port"
    for each in (run, source_run):
        each.end()


def test_who_waits_for_the_rest_is_let_go_if_it_does_not_come(helper: str, place: Path) -> None:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[:HALF])
    with socket.create_connection(("127.0.0.1", run.port), PATIENCE_S) as guest:
        guest.sendall(request())
        with guest.makefile("rb") as given:
            assert given.read(HALF) == ARCHIVE[:HALF]
            run.close()
            with contextlib.suppress(ConnectionResetError):
                assert given.read() == b""
    run.end()


def test_what_turned_out_to_be_wrong_is_given_to_nobody_any_more(helper: str, place: Path, stopped: None) -> None:
    with peer(lambda connection: connection.sendall(ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1]))) as port:
        run = fetching(helper, place, port)
        first = run.port
        assert run.answer() == "need 0 what came is not the runtime"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    run.give(ARCHIVE)
    assert whole(run, place) == run.port != first
    assert told(run.port, request()) == ARCHIVE
    run.end()


def test_a_source_gives_nothing_without_its_token(helper: str, place: Path) -> None:
    with source(helper, place) as port:
        for bad in (
            request(bytes(16)), request(TOKEN[:15] + b"\0"), request(archive=b"another"), request(magic=b"gpr2"),
            request(offset=len(ARCHIVE)), request(offset=0xFFFFFFFF), b"GET / HTTP/1.1\r\nHost: kn1\r\n" + b"x" * 100,
        ):  # fmt: skip
            assert told(port, bad) == b""
        assert told(port, request(offset=7)) == ARCHIVE[7:]


def test_strangers_who_say_nothing_do_not_keep_a_source_from_its_guests(helper: str, place: Path) -> None:
    with source(helper, place) as port, contextlib.ExitStack() as strangers:
        for _ in range(20):
            strangers.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
        assert told(port, request()) == ARCHIVE


@pytest.fixture(scope="session")
def impatient() -> Iterator[str]:
    """A helper whose server ends at once when all is there, and waits for no late peer."""
    with helper_with("-DSERVING_S=0") as helper:
        yield helper


def test_who_waited_long_for_its_turn_named_a_port_at_which_nobody_was_any_more(impatient: str, place: Path) -> None:
    """The time of its server counted from the first "need", and a turn may come late."""
    run = begun(impatient, place)
    assert run.answer() == "need 0"
    with socket.create_connection(("127.0.0.1", run.port), PATIENCE_S) as guest:
        guest.sendall(request())
        run.give(ARCHIVE[:HALF])
        with guest.makefile("rb") as given:
            assert given.read(HALF) == ARCHIVE[:HALF]
    run.send(ARCHIVE[HALF:])
    whole(run, place)
    run.end()


def test_no_port_is_named_if_nobody_is_there_any_more(helper: str, place: Path) -> None:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    pid = run.process.pid
    (server,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    gone = os.pidfd_open(int(server))
    os.kill(int(server), signal.SIGKILL)
    assert select.select([gone], [], [], PATIENCE_S)[0]
    os.close(gone)
    run.give(ARCHIVE)
    assert whole(run, place) == 0
    run.end()


def test_the_front_end_is_asked_for_the_rest_if_a_source_dies(helper: str, place: Path) -> None:
    with peer(lambda connection: connection.sendall(ARCHIVE[:HALF])) as port:
        run = fetching(helper, place, port)
        assert run.answer() == f"need {HALF} it closed the connection"
        run.give(ARCHIVE[HALF:], HALF)
        whole(run, place)
        run.end()


@pytest.mark.stress
def test_the_front_end_is_asked_if_a_source_is_silent(helper: str, place: Path) -> None:
    with peer(giving_and_waiting(ARCHIVE[:1])) as port:
        run = fetching(helper, place, port)
        assert run.answer() == "need 1 it does not answer"
        run.give(ARCHIVE[1:], 1)
        whole(run, place)
        run.end()


def test_the_front_end_is_asked_if_there_is_no_source(helper: str, place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        run = fetching(helper, place, taken.getsockname()[1])
        assert run.answer() == "need 0 Connection refused"
        run.give(ARCHIVE)
        whole(run, place)
        run.end()


@pytest.mark.parametrize("wrong", ["begin", "end"])
def test_wrong_bytes_of_a_source_are_never_unpacked(helper: str, place: Path, wrong: str) -> None:
    """At the begin it is no archive; at the end it is one with another digest."""
    forged = b"\0" * 100 + ARCHIVE[100:] if wrong == "begin" else ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1])
    with peer(lambda connection: connection.sendall(forged)) as port:
        run = fetching(helper, place, port)
        assert run.answer() == "need 0 what came is not the runtime"
        assert [name for name in runtimes(place) if not name.startswith(".new-")] == []
        run.give(ARCHIVE)
        whole(run, place)
        run.end()


def test_a_fetch_ends_with_the_front_end(helper: str, place: Path) -> None:
    with peer(giving_and_waiting(ARCHIVE[:HALF])) as port:
        run = fetching(helper, place, port)
        run.close()
        assert run.end()[0] == 1
    assert runtimes(place) == []
