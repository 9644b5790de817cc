"""What the switches of master and slave do, one by one; and which master a command talks to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.lab import HEAD, Lab
from tests.laboratory import laboratory
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Daemon, Slave
from tests.transfer.payload import Payload

FRONT, NODE = "127.0.0.6", "127.0.0.5"
"""Addresses of this machine: all of 127.0.0.0/8 is."""


def free_port() -> int:
    """A port that was free a moment ago on every address."""
    with socket.create_server(("", 0)) as listener:
        return int(listener.getsockname()[1])


def is_open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return False
    return True


def started(cluster: Cluster, *switches: str) -> Slave:
    """A slave with these switches and a store and binRoot of its own; nothing names its parent."""
    cluster.slaves.append(
        slave := Slave([*gproc_as(None), "s", *switches, *places(cluster)], cluster.env, cluster.work)
    )
    slave.bin_root = cluster.place / "x"
    return slave


def places(cluster: Cluster) -> tuple[str, str]:
    return f"--store={cluster.place}/store", f"-binRoot={cluster.place}/x"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A locale in which this host is node 2, and has another address than the master."""
    path = tmp_path / "cluster.toml"
    host = socket.gethostname()
    path.write_text(f'''
master = "front"
nodes = ["another", "{host}"]
[addresses]
front = "{FRONT}"
"{host}" = "{NODE}"
''')
    return path


def test_a_locale_says_where_the_master_listens_and_where_a_slave_stands(tmp_path: Path, file: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    port = free_port()
    cluster.start_master(f"-locale={file}", port=port)
    assert (is_open(FRONT, port), is_open("127.0.0.1", port)) == (True, False)
    slave = started(cluster, f"-locale={file}", f"-cmdport={port}")
    slave.says(rf"joined {FRONT}:{port} as node 2, takes children on port {port}")
    assert [(node["path"], node["address"]) for node in cluster.info()["nodes"]] == [("2", f"{NODE}:{port}")]
    assert cluster.exec("2", "/bin/true").returncode == 0
    cluster.stop()


def test_an_address_overrules_the_locale_for_master_and_slave(tmp_path: Path, file: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    port = free_port()
    cluster.start_master(f"-locale={file}", "--address=127.0.0.7", port=port)
    assert (is_open("127.0.0.7", port), is_open(FRONT, port)) == (True, False)
    first = started(cluster, f"-locale={file}", f"--parent=127.0.0.7:{port}", "-cmdport=0", "--address=127.0.0.8")
    first.says("this is node 2")
    (node,) = cluster.info()["nodes"]
    host, _, own_port = node["address"].rpartition(":")
    assert (host, is_open(host, int(own_port))) == ("127.0.0.8", True)
    cluster.stop()


def test_children_join_at_the_port_that_the_master_was_told(cluster: Cluster) -> None:
    cluster.end(cluster.master, signal.SIGINT)
    port = free_port()
    cluster.start_master(port=port)
    assert cluster.port == port
    cluster.slave(1).says(rf"joined 127.0.0.1:{port} as node 1")


def test_a_slave_is_below_the_parent_that_it_names(cluster: Cluster) -> None:
    first = cluster.slave(1)
    assert cluster.slave(1, parent=first).path == "1/1"
    by_name = cluster.launch_slave("--id=2", f"--parent=localhost:{cluster.port}")
    assert cluster.joined(by_name, cluster.master).path == "2"


def test_master_and_slave_keep_what_they_receive_in_the_stores_that_they_name(cluster: Cluster) -> None:
    cluster.slave(1)
    program = cluster.write_program("kept", "echo kept")
    assert cluster.exec("1", program).stdout == b"kept\n"
    for base in (cluster.place / "store-m", cluster.place / "s1" / "store"):
        (bundle,) = (base / "roots").iterdir()
        assert (bundle / "tree" / program.lstrip("/")).exists() or list(bundle.rglob("kept"))


def test_a_bundle_beyond_the_size_of_the_masters_store_is_sent_and_not_kept(cluster: Cluster, tmp_path: Path) -> None:
    payload = Payload(tmp_path / "root", 4 << 20)
    port = cluster.port
    cluster.slave(1)
    for size, kept in (("3M", 0), ("300M", 1)):
        cluster.end(cluster.master, signal.SIGKILL)
        cluster.start_master(f"--store-size={size}", port=port)
        cluster.master.says(r"(arrived: 1 | 1 \(\S+\) is reached)")
        done = cluster.exec(*payload.words("1"))
        assert done.returncode == 0, done.stderr
        cluster.end(cluster.master, signal.SIGKILL)
        cluster.start_master(f"--store-size={size}", port=port)
        cluster.master.says(r"(arrived: 1 | 1 \(\S+\) is reached)")
        assert len(os.listdir(cluster.place / "store-m" / "roots")) == kept
        shutil.rmtree(cluster.place / "s1" / "store")


def test_binroot_of_the_master_changes_nothing_on_nodes_as_in_the_original(cluster: Cluster) -> None:
    cluster.end(cluster.master, signal.SIGINT)
    cluster.start_master(f"-binRoot={cluster.place}/elsewhere")
    slave = cluster.slave(1)
    done = cluster.exec("1", "/bin/sh", "-c", "echo $GPROC_ROOT")
    assert done.stdout.decode() == f"{slave.bin_root}\n"
    assert not (cluster.place / "elsewhere").exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """Two masters, with node 1 below the first and node 2 below the second."""
    clusters = []
    for number in (1, 2):
        cluster = Cluster(tmp_path_factory.mktemp("pair") / "c")
        cluster.start_master()
        cluster.slave(number)
        clusters.append(cluster)
    yield clusters[0], clusters[1]
    for cluster in clusters:
        cluster.stop()


@pytest.mark.parametrize("spelling", ["--socket", "-defaultMasterUDS"])
@pytest.mark.stress
def test_each_command_talks_to_the_master_whose_socket_it_names(
    pair: tuple[Cluster, Cluster], tmp_path: Path, spelling: str
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("content")
    for number, cluster in enumerate(pair, start=1):

        def run(mode: str, *words: str, cluster: Cluster = cluster) -> subprocess.CompletedProcess[str]:
            argv = [*gproc_as(None), mode, f"{spelling}={cluster.socket}", *words]
            return subprocess.run(
                argv, env=cluster.env, cwd=cluster.work, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )

        assert run("e", ".", "/bin/sh", "-c", "echo $GPROC_NODE").stdout == f"{number}\n"
        assert run("i").stdout.splitlines()[1].split()[0] == str(number)
        assert f"echo {number} {spelling}" not in run("ps", "-a").stdout
        assert run("e", ".", "/bin/sh", "-c", f"echo {number} {spelling}").returncode == 0
        assert f"echo {number} {spelling}" in run("ps", "-a").stdout
        begun = run("e", "-d", ".", "/bin/sh", "-c", f"echo from {number}; exec sleep 1000").stdout.strip()
        assert f"from {number}" in run("logs", "-f", begun).stdout if run("kill", begun).returncode == 0 else False
        assert run("wait", begun).returncode == 143
        assert f"job {begun} has ended" in run("stacks", begun).stderr
        assert "has ended" in run("attach", begun).stderr
        assert run("rm", begun).returncode == 0
        assert run("cp", str(tmp_path / "there" / "file"), f".:{tmp_path}/copy-{number}").returncode == 0
        assert (tmp_path / f"copy-{number}").read_text() == "content"
        assert run("get", f".:{tmp_path}/there/file", str(tmp_path / f"home-{number}")).returncode == 0
        assert os.listdir(tmp_path / f"home-{number}") == [str(number)]


def test_the_master_listens_at_the_socket_that_it_names(cluster: Cluster) -> None:
    cluster.master.says(rf"commands at {cluster.socket}$")
    assert cluster.socket.is_socket()


LONG: Final = "--link-timeout=1000"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory(["1"], 1000) as lab:
        yield lab


@pytest.mark.slow
@pytest.mark.parametrize("quick", ["m", "s"])
def test_a_link_timeout_says_when_the_end_that_has_it_gives_a_cut_link_up(
    lab: Lab, tmp_path: Path, quick: str
) -> None:
    """One end waits for 1 s, the other for 1000 s: the end that waits for 1 s notices first, be it master or slave."""
    cluster = Cluster(tmp_path / "c")
    limit = {mode: "--link-timeout=1" if mode == quick else LONG for mode in ("m", "s")}
    own = (f"--socket={cluster.socket}", "-cmdport=0", f"--store={cluster.place}/store-m")
    address = lab.address(HEAD)
    master = Daemon(
        [*lab.entry(HEAD), *gproc_as(None), "m", f"--address={address}", limit["m"], *own], cluster.env, cluster.work
    )
    port = master.says(r"port (\d+)").group(1)
    slave = Daemon(
        [*lab.entry("1"), *gproc_as(None), "s", f"--parent={address}:{port}", "--id=1", limit["s"], *places(cluster)],
        cluster.env, cluster.work,
    )  # fmt: skip
    try:
        slave.says("this is node 1")
        job = cluster.begin("e", "-localbin", "1", "/bin/sh", "-c", "echo up; exec sleep 1000")
        assert job.stdout is not None
        assert job.stdout.readline() == b"up\n"
        lab.cut("1")
        first, second = (master, slave) if quick == "m" else (slave, master)
        first.says("node 1 left: " if quick == "m" else "lost the parent at ")
        assert ("lost the parent" if quick == "m" else "node 1 left") not in second.log
        lab.mend("1")
    finally:
        for daemon in (slave, master):
            daemon.kill(signal.SIGTERM)
            daemon.wait()
    cluster.finish(job)


def test_certificates_go_where_out_says_and_an_address_of_cert_is_one_to_dial_by(cluster: Cluster) -> None:
    """A slave is dialled by an address that its certificate has; by one that it does not have it is refused."""
    out = cluster.place / "out"
    for name, switches in (("kn7", ["--address=127.0.0.9"]), ("kn8", []), ("kn9", [])):
        argv = [*gproc_as(None), "cert", f"--out={out}", *switches, name]
        done = subprocess.run(argv, env=cluster.env, cwd=cluster.work, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{out}/{name}\n"), done.stderr
    with_address, without = (cluster.slave(id, "--address=127.0.0.9", home=out / f"kn{id}") for id in (7, 8))
    child = cluster.launch_slave(f"--parent=127.0.0.9:{with_address.port}", home=out / "kn9")
    child.says("this is node 7/1")
    stranger = cluster.launch_slave(f"--parent=127.0.0.9:{without.port}", home=out / "kn9")
    stranger.says("kn8")
    cluster.end(stranger, signal.SIGTERM)


def test_a_log_in_json_is_one_value_a_line_whatever_others_say(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--log-json")
    slave = cluster.launch_slave("--log-json", "--id=1")
    slave.says("this is node 1")
    cluster.master.says("arrived: 1 ")
    done = cluster.exec("-localbin", "1", "/no\nsuch\x1b[2J")
    assert done.returncode == 127
    cluster.end(slave, signal.SIGTERM)
    cluster.master.says("left: 1 ")
    for daemon, log in (("master", cluster.master.log), ("slave", slave.log)):
        rows = [json.loads(line) for line in log.splitlines()]
        assert {row["daemon"] for row in rows} == {daemon}
        assert {row["level"] for row in rows} <= {"info", "warning"}
        assert all(row["log"] and row["time"].endswith("Z") for row in rows)
        assert log.isascii()
    cluster.stop()
