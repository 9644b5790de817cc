"""gproc-gridftp-master below gfork: data nodes register, servers are told, memory is limited."""

from __future__ import annotations

import re
import socket
import struct
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gproc.adapters.gridftp.packets import PACKET_BYTES, MessageKind, Registration, answer
from gproc.trust.authority import open_authority
from tests.adapters.gfork.running import Gfork, Puppet, eventually
from tests.patience import PATIENCE_S

READY = "a" + "\0" * 5 + "\x04"
NAME = socket.gethostname()


def master_lines(switches: str, home: Path | None = None) -> str:
    env = f" env += GPROC_HOME={home}\n" if home else ""
    return f"{env} master = {sys.executable}\n master_args = -m gproc.adapters.gridftp -l - {switches}\n"


def registry(gfork: Gfork) -> int:
    """The port where data nodes register."""
    return int(gfork.logged("data nodes register at port").split()[-1])


def register(port: int, packet: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as node:
        node.sendall(packet)
        return node.makefile("rb").read()


def told(server: Puppet) -> list[str]:
    """The contacts that a new server is told, before it is told that it may begin."""
    contacts: list[str] = []
    while True:
        _, _, _, body = server.receive()
        if body == READY:
            return contacts
        contacts += contacts_in(body.encode("latin-1"))


def contacts_in(body: bytes) -> list[str]:
    entries = [body[start : start + PACKET_BYTES] for start in range(0, len(body), PACKET_BYTES)]
    assert [struct.unpack_from("=I", entry, 15)[0] for entry in entries] == list(range(len(entries), 0, -1))
    return [entry[146:].rstrip(b"\0").decode() for entry in entries]


ACK, NACK = answer(MessageKind.ACK), answer(MessageKind.NACK)


def test_servers_are_told_of_data_nodes_in_turn_and_of_new_ones_while_they_run(tmp_path: Path) -> None:
    with Gfork(tmp_path, master_lines("-G n -s 2")) as gfork:
        port = registry(gfork)
        early = gfork.child()
        assert told(early) == []
        for name in ("b0:1", "b1:1", "b2:1"):
            assert register(port, Registration(name).packet()) == ACK
        assert contacts_in(early.receive()[3].encode("latin-1")) == ["b0:1"]
        assert contacts_in(early.receive()[3].encode("latin-1")) == ["b1:1"]
        assert [told(gfork.child()) for _ in range(3)] == [["b0:1", "b1:1"], ["b2:1", "b0:1"], ["b1:1", "b2:1"]]
        assert register(port, Registration("b1:1").packet(MessageKind.REMOVE)) == ACK
        assert register(port, Registration("b1:1").packet(MessageKind.REMOVE)) == NACK
        assert sorted(told(gfork.child())) == ["b0:1", "b2:1"]


def test_what_is_no_registration_gets_a_nack_or_no_answer_and_the_next_is_served(tmp_path: Path) -> None:
    with Gfork(tmp_path, master_lines("-G n")) as gfork:
        port = registry(gfork)
        assert register(port, Registration("no_host:1").packet()) == NACK
        assert register(port, b"GET / HTTP/1.0\r\n\r\n".ljust(PACKET_BYTES)) == NACK
        where = ("127.0.0.1", port)
        with socket.create_connection(where) as silent, socket.create_connection(where) as half:
            half.sendall(b"a" * 10)
            assert register(port, Registration("node:1").packet()) == ACK
            half.shutdown(socket.SHUT_WR)
            gfork.logged("no whole registration came")
            assert silent.fileno() >= 0
        assert told(gfork.child()) == ["node:1"]


@pytest.mark.stress
def test_a_node_that_connects_and_says_nothing_is_let_go_in_time(tmp_path: Path) -> None:
    with Gfork(tmp_path, master_lines("-G n")) as gfork:
        with socket.create_connection(("127.0.0.1", registry(gfork)), timeout=PATIENCE_S) as silent:
            assert silent.recv(1) == b""
        gfork.logged("no whole registration came")


def test_a_data_node_registers_itself_and_takes_itself_out_when_it_ends(tmp_path: Path) -> None:
    (tmp_path / "front").mkdir()
    (tmp_path / "node").mkdir()
    with Gfork(tmp_path / "front", master_lines("-G n")) as front:
        port = registry(front)
        with Gfork(tmp_path / "node", master_lines(f"-G n -b 127.0.0.1:{port} -u 1")) as node:
            contact = f"127.0.0.1:{node.port}"
            front.logged(f"{contact} is registered by")
            assert told(front.child()) == [contact]
            assert told(node.child()) == []
            eventually(lambda: node.log().count("BACKEND is done") >= 2)  # it registers again
        front.logged(f"{contact} is taken out by")
        assert told(front.child()) == []


def test_a_data_node_is_patient_with_a_front_end_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with Gfork(tmp_path, master_lines(f"-G n -b 127.0.0.1:{port} -u 1")) as node:
            node.logged("Connection refused")
            closed.listen()
            closed.settimeout(PATIENCE_S)
            with closed.accept()[0] as connection:
                assert len(connection.makefile("rb").read(PACKET_BYTES)) == PACKET_BYTES
                connection.sendall(NACK)
                node.logged("BACKEND is refused")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The keys of a cluster."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    open_authority(str(path), create=True)
    return path


@pytest.mark.parametrize(("names", "is_taken"), [(None, True), (f'"other"\n"{NAME}"\n', True), ('"other"\n', False)])
def test_nodes_of_the_cluster_register_with_their_certificates(
    names: str | None, is_taken: bool, tmp_path: Path, home: Path
) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", NAME):
        pytest.skip(f"this machine is called {NAME!r}, which no certificate can contain")
    (tmp_path / "front").mkdir()
    (tmp_path / "node").mkdir()
    switches = ""
    if names is not None:
        (tmp_path / "names").write_text(names)
        switches = f"-df {tmp_path / 'names'}"
    with Gfork(tmp_path / "front", master_lines(switches, home)) as front:
        port = registry(front)
        with Gfork(tmp_path / "node", master_lines(f"-b localhost:{port}", home)) as node:
            if is_taken:
                node.logged("BACKEND is done")
                assert told(front.child()) == [f"127.0.0.1:{node.port}"]
            else:
                node.logged("BACKEND is refused")
                assert f"node {NAME} is not in {tmp_path / 'names'}" in front.logged("is refused")


def test_without_a_certificate_nobody_registers_where_certificates_are_asked(tmp_path: Path, home: Path) -> None:
    with Gfork(tmp_path, master_lines("", home)) as gfork:
        port = registry(gfork)
        with suppress(ConnectionError):
            assert register(port, Registration("node:1").packet()) == b""
        assert told(gfork.child()) == []


def test_a_master_without_keys_says_how_to_do_without(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    with Gfork(tmp_path, master_lines("", empty)) as gfork:
        assert "-G n" in gfork.logged("holds no certificate")
        gfork.logged("it is started again in 1 s")


def test_memory_is_shared_and_a_server_for_which_there_is_none_is_ended(tmp_path: Path) -> None:
    with Gfork(tmp_path, master_lines("-G n -M 512M")) as gfork:
        registry(gfork)
        servers = []
        for limit in (80530636, 80530636, 7287603, 3294276, 1297612):
            servers.append(gfork.child())
            assert struct.unpack("=I", servers[-1].receive()[3].encode("latin-1")[7:]) == (limit,)
            assert servers[-1].receive()[3] == READY
        assert gfork.child().is_over()
        gfork.logged("there is no memory for it")
        servers[0].order("exit", status=0)
        assert servers[0].is_over()
        eventually(lambda: len(re.findall(r"server \d+ ended", gfork.log())) == 2)
        last = gfork.child()
        assert struct.unpack("=I", last.receive()[3].encode("latin-1")[7:])[0] > 1 << 20


@pytest.mark.parametrize("security", ["yes", "no"])
def test_silent_connections_of_one_address_keep_no_data_node_out(
    security: str, tmp_path: Path, home: Path
) -> None:
    """256 of them did, for 15 s and as often as somebody liked: after ten minutes no data node was left.

    With TLS none was counted before its handshake was over: they took all descriptors.
    """
    (tmp_path / "front").mkdir()
    (tmp_path / "node").mkdir()
    with Gfork(tmp_path / "front", master_lines(f"-G {security}", home)) as front, ExitStack() as silent:
        port = registry(front)
        for _ in range(400):
            silent.enter_context(socket.create_connection(("127.0.0.2", port), source_address=("127.0.0.9", 0)))
        with Gfork(tmp_path / "node", master_lines(f"-G {security} -b 127.0.0.1:{port}", home)):
            front.logged("is registered by 127.0.0.1")
        front.logged("127.0.0.9: too many connections are open and wait already")
