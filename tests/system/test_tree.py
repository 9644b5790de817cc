"""The tree on one machine: how it forms, how it is shown, how it ends."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

import gproc
from tests.system.cluster import Cluster

DEEP = ["1", "1/1", "1/1/5", "1/2", "2", "2/1"]


def test_a_program_prints_one_line_per_slave(flat: Cluster) -> None:
    done = flat.exec(".", "/bin/date", "+%s")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("./.", ["1", "1/1", "1/2", "2", "2/1"]),
        ("=./.", ["1/1", "1/2", "2/1"]),
        ("1/.", ["1", "1/1", "1/2"]),
        ("=1/1/5", ["1/1/5"]),
        ("././.", DEEP),
        ("1,=2/1", ["1", "2/1"]),
    ],
)
def test_a_specification_selects_nodes_of_a_deep_tree(deep: Cluster, nodes: str, expected: list[str]) -> None:
    done = deep.exec(nodes, "/bin/sh", "-c", "echo $GPROC_NODE $GPROC_SIZE")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.decode().splitlines()) == [f"{node} {len(expected)}" for node in expected]


def test_a_specification_of_two_levels_selects_all_nodes_of_a_flat_tree(flat: Cluster) -> None:
    done = flat.exec("./.", "/bin/sh", "-c", "echo $GPROC_NODE")
    assert (done.returncode, sorted(done.stdout.split())) == (0, [b"1", b"2", b"3"]), done.stderr


def test_excluded_nodes_run_nothing_and_the_others_do(deep: Cluster) -> None:
    done = deep.exec("-x", "1/1,=2", "././.", "/bin/sh", "-c", "echo $GPROC_NODE")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.decode().split()) == ["1", "1/1/5", "1/2", "2/1"]


def test_a_node_that_is_shown_is_not_said_to_be_away_because_its_parent_was_not_asked_for(deep: Cluster) -> None:
    for nodes, missing in (("=1/1", ""), ("=1/1-5,2", "=1/3-5"), ("=1/1/5", "")):
        done = deep.command("i", nodes)
        said = f"gproc: no node of {missing} is there, or was there before\n" if missing else ""
        assert (done.returncode, done.stderr.decode()) == (125 if missing else 0, said)
        assert b"\tup\t" in done.stdout


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6_ran_into_its_port(cluster: Cluster) -> None:
    slave = cluster.launch_slave("--id=1", "--address=::1")
    port = cluster.master.says(r"node 1 joined: \S+ at \[::1\]:(\d+)$").group(1)
    slave.says("joined")
    shown = cluster.command("i").stdout.decode().splitlines()[1].split()
    assert shown[2] == f"[::1]:{port}"
    assert [node["address"] for node in cluster.info()["nodes"]] == [f"[::1]:{port}"]
    with gproc.connect(str(cluster.socket)) as connected:
        assert [node.address for node in connected.info().nodes] == [f"[::1]:{port}"]


def test_missing_nodes_are_folded_and_make_125_while_the_others_run(flat: Cluster) -> None:
    done = flat.exec("2-9", "/bin/echo", "here")
    assert done.returncode == 125
    assert done.stdout == b"here\nhere\n"
    assert done.stderr == b"gproc: 4-9: not connected\n"


def test_if_all_nodes_are_missing_nothing_runs(flat: Cluster) -> None:
    done = flat.exec("7-1000000000", "/bin/echo", "here")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"gproc: not connected: 7-1000000000\n"


def test_ranks_are_counted_from_0_without_gaps(deep: Cluster) -> None:
    done = deep.exec("././.", "/bin/sh", "-c", "echo $GPROC_RANK")
    assert sorted(map(int, done.stdout.split())) == list(range(len(DEEP)))


def test_the_tree_is_shown_as_a_table_for_people(deep: Cluster) -> None:
    table = deep.command("i").stdout.decode().splitlines()
    assert table[0].split() == ["NODE", "HOST", "ADDRESS", "STATE", "JOBS", "LOAD", "MEMORY", "VERSION", "SINCE"]
    assert [row.split()[0] for row in table[1 : len(DEEP) + 1]] == DEEP
    assert table[len(DEEP) + 2].startswith(f"{len(DEEP)} nodes below the master on {socket.gethostname()}")


def test_the_tree_is_shown_as_json_for_programs(deep: Cluster) -> None:
    tree = deep.info()
    assert tree["master"] == socket.gethostname()
    assert [node["path"] for node in tree["nodes"]] == DEEP
    assert {slave.path: slave.port for slave in deep.slaves} == {
        node["path"]: int(node["address"].rpartition(":")[2]) for node in tree["nodes"]
    }
    for node in tree["nodes"]:
        assert node["host"] == socket.gethostname()
        assert node["state"] in ("up", "plain")
        assert node["load"] >= 0
        assert node["memory"] > node["available"] > 0
        assert node["version"] == gproc.__version__
        assert node["since"] > tree["since"] - 1


def test_a_running_job_is_counted_for_its_nodes(deep: Cluster) -> None:
    job = deep.begin("e", "1/2", "/bin/sh", "-c", "echo here; read line", stdin=-1)
    assert job.stdout is not None
    job.stdout.readline()
    counted = {node["path"]: node["jobs"] for node in deep.info()["nodes"]}
    assert counted == {"1": 1, "1/1": 0, "1/1/5": 0, "1/2": 1, "2": 0, "2/1": 0}
    assert deep.finish(job)[0] == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_master_ends_every_slave(cluster: Cluster, signum: int) -> None:
    first = cluster.slave(1)
    cluster.slave(2)
    cluster.slave(7, parent=first)
    job = cluster.begin("e", "././.", "/bin/sleep", "1000")
    cluster.master.says(r"job \d+: uid")
    cluster.master.kill(signum)
    assert cluster.master.wait() == 0
    for slave in cluster.slaves:
        assert slave.wait() == 0, slave.log
        assert "shut down: " in slave.log
    assert cluster.finish(job)[0] == 125
    cluster.nothing_runs()
    cluster.forget(cluster.master)


def test_a_slave_without_an_id_is_given_the_next_one(cluster: Cluster) -> None:
    cluster.slave(2)
    assert [cluster.slave().path for _ in range(2)] == ["1", "3"]


def test_a_taken_id_is_refused_with_the_name_of_its_node(cluster: Cluster) -> None:
    cluster.slave(2)
    second = cluster.launch_slave("--id=2")
    assert "id 2 is taken by" in second.says("cannot join: ").string
    cluster.master.says(r"refused .*: id 2 is taken by")
    cluster.end(second, signal.SIGTERM)


def test_a_second_slave_takes_a_free_port_if_the_usual_one_is_taken(cluster: Cluster) -> None:
    ports = [cluster.slave(port=None).port for _ in range(2)]
    assert ports[0] != ports[1]


def test_a_taken_port_that_was_named_by_a_switch_is_an_error(cluster: Cluster) -> None:
    slave = cluster.launch_slave(port=cluster.port)
    assert slave.wait() == 125
    assert slave.log == (
        f"gproc: cannot listen on port {cluster.port}: Address already in use; choose another with --cmd-port"
    )
    cluster.forget(slave)


def test_a_slave_that_comes_back_is_in_the_tree_again(cluster: Cluster) -> None:
    first = cluster.slave(4)
    since = cluster.master.mark()
    cluster.end(first, signal.SIGKILL)
    cluster.master.says(r"cannot reach 4 ", since=since)
    cluster.slave(4)
    assert cluster.exec("4", "/bin/true").returncode == 0


def test_a_master_that_comes_back_finds_its_whole_tree(cluster: Cluster) -> None:
    port = cluster.port
    rack = cluster.slave(1)
    leaf = cluster.slave(2, parent=rack)
    marks = rack.mark(), leaf.mark()
    cluster.end(cluster.master, signal.SIGKILL)
    rack.says("lost the parent")
    cluster.start_master(port=port)
    rack.says(r"joined \S+ as node 1", since=marks[0])
    cluster.master.says(r"(arrived: 1/2 |1/2 \(\S+\) is reached)")
    cluster.master.says(r"(arrived: 1 | 1 \(\S+\) is reached)")
    done = cluster.exec("./.", "/bin/echo", "here")
    assert (done.returncode, done.stdout) == (0, b"here\nhere\n"), done.stderr


def test_a_dead_masters_socket_is_replaced_and_a_live_ones_is_not(cluster: Cluster) -> None:
    rival = cluster.command("m", "-cmdport=0", f"--store={cluster.place}/rival")
    assert rival.returncode == 125
    assert rival.stderr.decode().endswith(f"gproc: a master is already listening at {cluster.socket}\n")
    cluster.end(cluster.master, signal.SIGKILL)
    assert cluster.socket.exists()
    cluster.start_master()
    assert cluster.command("i").returncode == 0


def test_children_of_a_rack_master_whose_clock_was_wrong_had_joined_in_1970(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; real = time.time; time.time = lambda: real() % 3600")
    cluster = Cluster(tmp_path / "c")
    try:
        began_s = time.time()
        cluster.start_master()
        cluster.under = ("env", f"PYTHONPATH={tmp_path}:{cluster.env['PYTHONPATH']}")
        cluster.slave(1, parent=cluster.slave(1))
        with gproc.connect(str(cluster.socket)) as connection:
            assert [node.since_s > began_s for node in connection.info().nodes] == [True, True]
    finally:
        cluster.stop()
