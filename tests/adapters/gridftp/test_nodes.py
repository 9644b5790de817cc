"""`gfork --backends NODES`: data nodes of a gproc tree serve, and register themselves at the front end."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gproc.adapters.gfork.companion import node_switches
from gproc.adapters.gfork.grammar import parse
from gproc.adapters.gfork.settings import settings_of
from gproc.errors import UsageError
from tests.adapters.gfork.running import Gfork, eventually
from tests.adapters.gridftp.test_master import master_lines, registry, told
from tests.system.cluster import Cluster


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Cluster]:
    """A master with node 1, its child 1/2, and node 3."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_small_tree()
    (cluster.home / "config.toml").write_text(f"[e]\nsocket = '{cluster.socket}'\n")
    (cluster.home / "config.toml").chmod(0o600)
    yield cluster
    cluster.stop()


def free_port() -> int:
    """A port that no process has at any address, and that the kernel gives to no connection."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", random.randrange(20_000, 32_000)))
            return int(probe.getsockname()[1])


def second_service(port: int) -> str:
    """Lines that end the first service and begin the nodes'."""
    return (
        f"}}\nservice data\n{{\n bind = 127.0.0.1\n port = 0\n server = /bin/cat\n"
        f" master = {sys.executable}\n master_args = -m gproc.adapters.gridftp -G n -l - -b 127.0.0.1:{port}\n"
    )


def test_a_server_on_each_node_registers_is_started_again_and_leaves_with_gfork(tree: Cluster, tmp_path: Path) -> None:
    port = free_port()
    lines = f" backends = ./.\n local_bin = yes\n{master_lines(f'-G n -p {port}')}{second_service(port)}"
    with Gfork(tmp_path, lines, environment=tree.env) as gfork:
        assert registry(gfork) == port
        eventually(lambda: len(re.findall(r"127\.0\.0\.1:\d+ is registered by", gfork.log())) == 3)
        contacts = told(gfork.child())
        assert len(contacts) == 3
        for contact in contacts:
            with socket.create_connection(("127.0.0.1", int(contact.rpartition(":")[2])), timeout=60) as client:
                client.sendall(b"through a data node\n")
                assert client.recv(100) == b"through a data node\n"
        victim = next(pid for pid in tree.job_processes() if b"-bind" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        gfork.logged("it is started again in 1 s")
        eventually(lambda: len(re.findall(r"data nodes: \S+ Listening on", gfork.log())) == 4)
        gfork.signal(signal.SIGTERM)
        assert gfork.wait() == 0
        assert len(re.findall(r"is taken out by", gfork.log())) >= 2
    tree.nothing_runs(within_s=60)


def test_a_node_that_is_lost_does_not_take_the_others_servers_along(tree: Cluster, tmp_path: Path) -> None:
    port = free_port()
    lines = f" backends = ./.\n local_bin = yes\n{master_lines(f'-G n -p {port}')}{second_service(port)}"
    third = tree.slave(9)
    with Gfork(tmp_path, lines, environment=tree.env) as gfork:
        eventually(lambda: len(re.findall(r"127\.0\.0\.1:\d+ is registered by", gfork.log())) == 4)
        tree.end(third, signal.SIGTERM)
        gfork.logged("not connected: 9; tried again in")
        tree.slave(9)
        eventually(lambda: len(re.findall(r"127\.0\.0\.1:\d+ is registered by", gfork.log())) == 5)
        assert len(re.findall(r"data nodes: (?:1|1/2|3): Listening on", gfork.log())) == 3
        assert "no longer kept" not in gfork.log()


@pytest.mark.stress
def test_sighup_moves_the_data_nodes_to_those_of_the_new_file(tree: Cluster, tmp_path: Path) -> None:
    port = free_port()

    def lines(nodes: str) -> str:
        return f" backends = {nodes}\n local_bin = yes\n{master_lines(f'-G n -p {port}')}{second_service(port)}"

    with Gfork(tmp_path, lines("=1"), environment=tree.env) as gfork:
        gfork.logged("is registered by")
        (former,) = told(gfork.child())
        gfork.write(lines("3"))
        gfork.signal(signal.SIGHUP)
        gfork.logged("the configuration is read again")
        eventually(lambda: f"{former} is taken out by" in gfork.log())
        eventually(lambda: len(re.findall(r"127\.0\.0\.1:\d+ is registered by", gfork.log())) == 2)
        assert tree.states() == {"1": "up", "1/2": "up", "3": "up"}
        gfork.signal(signal.SIGHUP)
        eventually(lambda: gfork.log().count("the configuration is read again") == 2)
        assert len(re.findall(r"is taken out by", gfork.log())) == 1, "an unchanged file changes nothing"
    tree.nothing_runs(within_s=60)


def test_a_gfork_without_a_second_service_says_that_it_needs_one(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the file needs a second service"), Gfork(tmp_path, " backends = ./."):
        pass


FILE = """
service front
{
    server = /bin/cat
    master = /opt/master
    master_args = -p 8588 -G n
    backends = 1-80
}

service data
{
    server = /bin/cat
    server_args = -u 'a b'
    env += A=1
    master = /opt/master
    master_args = -G n
}
"""


def test_the_nodes_get_the_second_service_as_switches_and_are_told_where_to_register() -> None:
    configured = settings_of(parse(FILE, "f"))
    assert configured.warnings == ()
    assert configured.backend is not None
    words = node_switches(configured.backend, configured.settings, "front.site")
    assert words == [
        "-server", "/bin/cat", "-server_args", "-u 'a b'", "-env", "A=1", "-master", "/opt/master",
        "-master_args", "-G n", "-master_args", "-b front.site:8588",
    ]  # fmt: skip


def test_a_front_end_without_a_port_is_asked_for_one() -> None:
    configured = settings_of(parse(FILE.replace("-p 8588 ", ""), "f"))
    assert configured.backend is not None
    with pytest.raises(UsageError, match="nothing says where the data nodes register"):
        node_switches(configured.backend, configured.settings, "front.site")
