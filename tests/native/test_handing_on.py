"""A runtime that was begun is resumed, and nodes hand it on to each other: whole, or the front end sends it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gproc import native
from gproc.native.build import compile_by
from gproc.runtime.archive import Content, archive_of
from gproc.start.script import order_to_fetch
from tests.launch.conftest import by_clang, sanitized
from tests.native.test_bootstrap import FAILING, TOKEN, Bootstrap, header, place, runtimes, stopped
from tests.patience import PATIENCE_S

__all__ = ["by_clang", "place", "sanitized", "stopped"]

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


@pytest.fixture(params=["native", *(pytest.param(way, marks=pytest.mark.stress) for way in ("by_clang", "sanitized"))])
def helper(request: pytest.FixtureRequest) -> str:
    return os.fsdecode(native.HELPER) if request.param == "native" else str(request.getfixturevalue(request.param))


ARCHIVE = archive_of({"ld.so": Content(FAILING, executable=True), "big": Content(os.urandom(1 << 20))})
HALF = len(ARCHIVE) // 2
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
PART = f".part-{BOOT_ID}-{os.uname().nodename}"
"""How a file of this machine ends for what has come of a runtime."""


def begun(helper: str, place: Path) -> Bootstrap:
    run = Bootstrap(helper, place)
    run.send(header(ARCHIVE))
    return run


def await_part(place: Path, size: int) -> None:
    """Until so many bytes have come there."""
    until_s = time.monotonic() + PATIENCE_S
    while sum(part.stat().st_size for part in place.glob("*.part*")) < size:
        assert time.monotonic() < until_s
        time.sleep(0.01)


def interrupted(helper: str, place: Path) -> None:
    """A bootstrap that was killed when half of the archive was there."""
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[:HALF])
    await_part(place, HALF)
    run.process.send_signal(signal.SIGKILL)
    run.end()


def whole(run: Bootstrap, place: Path) -> int:
    """The port at which it hands the runtime on that it has now."""
    word, _, port = run.answer().partition(" ")
    assert word == "have"
    (root,) = runtimes(place)
    assert root == f"runtime-{hashlib.sha256(ARCHIVE).hexdigest()}"
    assert len((place / root / "big").read_bytes()) == 1 << 20
    assert list(place.glob("*.part*")) == []
    return int(port)


def test_a_runtime_that_was_begun_is_resumed(helper: str, place: Path, stopped: None) -> None:
    interrupted(helper, place)
    assert [name.partition("-")[0] for name in runtimes(place)] == [".new"]
    run = begun(helper, place)
    assert run.answer() == f"need {HALF}"
    run.give(ARCHIVE[HALF:], HALF)
    assert whole(run, place) > 0
    assert run.answer() == f"ended {3 << 8}"
    run.end()


def test_who_cannot_listen_sends_all_and_what_is_there_is_skipped(helper: str, place: Path, stopped: None) -> None:
    interrupted(helper, place)
    run = begun(helper, place)
    run.give(ARCHIVE)
    assert run.answer() == f"need {HALF}"
    whole(run, place)
    assert run.answer() == f"ended {3 << 8}"
    run.end()


def test_an_order_that_leaves_bytes_out_is_refused(helper: str, place: Path) -> None:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[HALF:], HALF)
    assert run.answer() == "failed 22 it says from nowhere the rest comes: order"
    run.end()


def test_what_a_front_end_that_went_away_sent_is_not_sent_again(helper: str, place: Path) -> None:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[:HALF])
    run.close()
    assert run.answer().startswith("failed 32 the front end is gone")
    run.end()
    assert runtimes(place) == []
    again = begun(helper, place)
    assert again.answer() == f"need {HALF}"
    again.end()


def test_a_beginning_that_was_damaged_is_sent_anew(helper: str, place: Path, stopped: None) -> None:
    interrupted(helper, place)
    (part,) = place.glob("*.part*")
    part.write_bytes(bytes(1000) + part.read_bytes()[1000:])
    run = begun(helper, place)
    assert run.answer() == "need 0 what came is not the runtime"
    run.give(ARCHIVE)
    whole(run, place)
    run.end()


def test_the_beginning_of_another_runtime_goes(helper: str, place: Path) -> None:
    other = place / f"runtime-{'0' * 64}{PART}"
    other.write_bytes(b"x")
    run = begun(helper, place)
    assert run.answer() == "need 0"
    assert not other.exists()
    run.end()


def test_what_comes_to_a_machine_with_the_same_home_is_left_alone_for_a_day(
    helper: str, place: Path, stopped: None
) -> None:
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    others = [place / f"runtime-{each}.part-{BOOT_ID[::-1]}-another" for each in (digest, "0" * 64)]
    left = [place / f"runtime-{'1' * 64}.part{end}" for end in ("", f"-{BOOT_ID[::-1]}-another")]
    for each in (*others, *left):
        each.write_bytes(b"of another")
    for each in left:
        os.utime(each, (0, 0))
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE)
    assert run.answer().startswith("have ")
    run.end()
    assert sorted(place.glob("*.part*")) == sorted(others)


def test_hosts_with_one_home_and_locks_of_their_own_harm_each_other_in_nothing(place: Path, stopped: None) -> None:
    """As with homes on NFS, whose directories each host locks for itself: both wrote the same file."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for hosts with names of their own")
    with helper_with("-DLOCK_EXCLUSIVE=1") as helper:  # a shared lock
        hosts = {}
        for name in ("one", "two"):
            on_host = place.parent / name
            inside = f"hostname {name}; exec {helper} bootstrap {place}"
            on_host.write_text(f"#!/bin/sh\nexec unshare --uts sh -c '{inside}'\n")
            on_host.chmod(0o700)
            hosts[name] = begun(str(on_host), place)
        assert hosts["one"].answer() == "need 0"
        hosts["one"].give(ARCHIVE[:HALF])
        await_part(place, HALF)
        assert hosts["two"].answer() == "need 0", "it took what comes to the other one"
        hosts["two"].give(ARCHIVE)
        assert hosts["two"].answer().startswith("have ")
        hosts["one"].send(ARCHIVE[HALF:])
        whole(hosts["one"], place)
        for run in hosts.values():
            run.end()


@contextlib.contextmanager
def source(helper: str, place: Path) -> Iterator[int]:
    """The port of a node that has got the runtime, and hands it on."""
    own = place.parent / "source"
    own.mkdir(0o700)
    run = Bootstrap(helper, own)
    run.send(header(ARCHIVE, secret=b"that it waits for"))
    assert run.answer() == "need 0"
    run.give(ARCHIVE)
    yield whole(run, own)
    run.end()


def fetching(helper: str, place: Path, port: int, token: bytes = TOKEN, address: str = "127.0.0.1") -> Bootstrap:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.send(order_to_fetch(address, port, token))
    return run


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
    assert whole(source_run, own) == source_run.port, "who asks later finds it at the same port"
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


def request(token: bytes = TOKEN, offset: int = 0, archive: bytes = ARCHIVE, magic: bytes = b"gpr1") -> bytes:
    return struct.pack("<4sI16s32s", magic, offset, token, hashlib.sha256(archive).digest())


def told(port: int, words: bytes) -> bytes:
    """All that a source says to these words."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(words)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(1 << 16):
                found += more
        return found


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


@contextlib.contextmanager
def helper_with(definition: str) -> Iterator[str]:
    """The helper, compiled with this."""
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
        if compiler is None:
            pytest.skip("needs a C compiler")
        compile_by([compiler, definition], Path(made, "helper"), strict=True)
        yield str(Path(made, "helper"))


@pytest.fixture(scope="session")
def impatient() -> Iterator[str]:
    """The helper whose server has no time at all for who comes when all is there."""
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


Peer = Callable[[socket.socket], object]


@contextlib.contextmanager
def peer(does: Peer) -> Iterator[int]:
    """The port of somebody who is no good source."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(56, socket.MSG_WAITALL)
                does(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def giving_and_waiting(part: bytes) -> Peer:
    def does(connection: socket.socket) -> None:
        connection.sendall(part)
        connection.recv(1)

    return does


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


@pytest.mark.stress  # a minute
def test_a_front_end_that_falls_silent_keeps_the_next_start_from_a_host_for_a_minute_only(
    helper: str, place: Path
) -> None:
    """As one that has lost its power: its connection ends for sshd after hours."""
    silent = begun(helper, place)
    assert silent.answer() == "need 0"
    silent.give(ARCHIVE[:HALF])
    next_one = begun(helper, place)
    assert next_one.answer() == f"need {HALF}"
    assert silent.answer() == "failed 110 the front end is gone: runtime"
    next_one.end()
    silent.end()
