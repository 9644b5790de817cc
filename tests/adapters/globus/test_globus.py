"""Our gfork and Globus' gfork, our GridFTP master and Globus' one: each beside the others."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.gfork.running import OURS, Gfork, eventually
from tests.adapters.globus.packages import Globus, globus

BOTH = ("ours", "globus")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Globus:
    return globus(tmp_path_factory.mktemp("globus"))


def program(which: str, installed: Globus) -> tuple[str, ...]:
    return OURS if which == "ours" else (str(installed.gfork),)


@pytest.mark.parametrize("which", BOTH)
def test_masters_and_children_cannot_tell_the_two_apart(which: str, installed: Globus, tmp_path: Path) -> None:
    lines = " env = A=B=C\n env += X=c\n nice = 3\n instances = 7"
    outside = {**installed.environment, "X509_CERT_DIR": "/certs"}
    with Gfork(tmp_path, lines, masters=1, program=program(which, installed), environment=outside) as gfork:
        master = gfork.master()
        one, two, three = gfork.child(), gfork.child(), gfork.child()
        assert sorted(master.receive()[:2] for _ in range(3)) == sorted(["O", each.pid] for each in (one, two, three))
        found = one.ask("environment")
        assert {name: found[name] for name in ("A", "X", "X509_CERT_DIR", "GFORK_CHILD_INSTANCE_ENV")} == {
            "A": "B=C", "X": "c", "X509_CERT_DIR": "/certs", "GFORK_CHILD_INSTANCE_ENV": "7",
        }  # fmt: skip
        assert found["GFORK_CHILD_CS_ENV"].endswith(f":{gfork.port}")
        assert "PATH" not in found
        one.send(-1, "to the master", claim=1)
        assert master.receive() == ["D", one.pid, -1, "to the master"]
        one.send(two.pid, "to another child")
        assert two.receive() == ["D", one.pid, two.pid, "to another child"]
        master.send(0, "to all")
        master.send(-two.pid, "to all but one")
        master.send(999_999, "to nobody")
        master.send(two.pid, "to one")
        for child in (one, three):
            assert [child.receive()[3] for _ in range(2)] == ["to all", "to all but one"]
        assert [two.receive()[3] for _ in range(2)] == ["to all", "to one"]
        for _ in range(20):
            child = gfork.child()
            child.order("send", to=-1, body="last words ", repeat=1000)
            child.order("exit", status=0)
            received = [master.receive() for _ in range(3)]
            kinds = [kind for kind, *_ in received]
            assert kinds == ["O", "D", "C"] or (which == "globus" and kinds == ["O", "C", "D"])  # at times
            assert len({pid for _, pid, *_ in received}) == 1
        assert gfork.child().pid


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def service(installed: Globus, log: Path, kind: str, master: str, switches: str) -> str:
    """The lines of a GridFTP service."""
    words = f"-i -aa -anonymous-user root -allow-root -d WARN -l {log}.server {kind}"
    if master == "ours":
        lines = f" master = {sys.executable}\n master_args = -m gproc.adapters.gridftp {switches} -l {log}\n"
    else:
        lines = f" master = {installed.master}\n master_args = {switches} -l {log}\n"
    return f" server = {installed.server}\n server_args = {words}\n{lines}{installed.lines}"


@pytest.mark.skipif(os.geteuid() != 0, reason="GridFTP's anonymous user is root here: only root may become it")
@pytest.mark.parametrize("parties", list(itertools.product(BOTH, repeat=4)), ids="-".join)
def test_a_file_comes_by_way_of_a_data_node_that_registered_itself(
    parties: tuple[str, str, str, str], installed: Globus, tmp_path: Path
) -> None:
    """parties: gfork and master of the front end, then of the data node."""
    front_gfork, front_master, node_gfork, node_master = parties
    (tmp_path / "sent").write_bytes(os.urandom(3_000_000))
    (tmp_path / "front").mkdir()
    (tmp_path / "node").mkdir()
    port = free_port()
    front_log, node_log = tmp_path / "front.log", tmp_path / "node.log"
    front_lines = service(installed, front_log, "-dsi remote", front_master, f"-G n -p {port}")
    node_lines = service(installed, node_log, "-dn", node_master, f"-G n -b 127.0.0.1:{port} -u 1")
    with (
        Gfork(tmp_path / "front", server=front_lines, program=program(front_gfork, installed),
              environment=installed.environment) as front,
        Gfork(tmp_path / "node", server=node_lines, program=program(node_gfork, installed),
              environment=installed.environment),
    ):  # fmt: skip
        eventually(lambda: front_log.exists() and re.search("is registered by|Successful reg", front_log.read_text()))
        source, target = f"ftp://127.0.0.1:{front.port}{tmp_path}/sent", f"file://{tmp_path}/got"
        subprocess.run(
            [installed.copy, "-stripe", source, target],
            env={**os.environ, **installed.environment}, check=True, timeout=60,
        )  # fmt: skip
        assert (tmp_path / "got").read_bytes() == (tmp_path / "sent").read_bytes()
