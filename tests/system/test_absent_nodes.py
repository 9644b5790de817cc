"""A node that was killed is not just missing: `gproc i` shows it as down, and `gproc e ./.` names it."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.system.cluster import Cluster, Slave


@pytest.fixture
def killed(cluster: Cluster) -> tuple[Cluster, Slave]:
    """Nodes 1 to 3, and the third was killed."""
    *_, third = cluster.slaves_at_once(3)
    since = cluster.master.mark()
    cluster.end(third, signal.SIGKILL)
    cluster.master.says(r"cannot reach 3 ", since=since)
    return cluster, third


GONE = r"3: not there since \d\d:\d\d:\d\d: .*closed the connection"


def test_a_job_on_all_nodes_names_the_one_that_was_killed(killed: tuple[Cluster, Slave]) -> None:
    cluster, third = killed
    done = cluster.exec("-localbin", "./.", "/bin/echo", "here")
    assert (done.returncode, done.stdout) == (0, b"here\n" * 2)
    assert re.fullmatch(f"gproc: {GONE}\n", done.stderr.decode())
    cluster.slave(3, port=third.port)
    done = cluster.exec("-localbin", "./.", "/bin/echo", "here")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n" * 3, b"")


def test_a_job_that_requires_all_nodes_does_not_begin_without_one(killed: tuple[Cluster, Slave]) -> None:
    cluster, _ = killed
    done = cluster.exec("-localbin", "--require", "all", "./.", "/bin/echo", "here")
    assert (done.returncode, done.stdout) == (125, b"")
    reason = r"gproc: nothing runs, because not all nodes are there: 3: .*closed the connection\n"
    assert re.fullmatch(reason, done.stderr.decode())
    done = cluster.exec("-localbin", "--require", "all", "1-2,9", "/bin/echo", "here")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"gproc: nothing runs, because not all nodes are there: not connected: 9\n"
    assert cluster.exec("-localbin", "--require=all", "1-2", "/bin/echo", "here").stdout == b"here\n" * 2
    assert cluster.exec("-localbin", "--require=all", "--exclude=3", "./.", "/bin/echo", "here").stdout == b"here\n" * 2
    done = cluster.exec("--require", "some", "./.", "/bin/true")
    assert done.returncode == 2


def test_a_node_that_was_killed_is_shown_as_down_with_the_reason(killed: tuple[Cluster, Slave]) -> None:
    cluster, _ = killed
    node = cluster.info()["nodes"][2]
    assert node["path"] == "3"
    assert node["state"] == "unreachable"
    assert "closed the connection" in node["why"]
    shown = cluster.command("i").stdout.decode()
    assert re.search(r"^3\t\S+\t\S+\tunreachable\t-\t-\t-\t\S+\t\d\d:\d\d:\d\d$", shown, re.MULTILINE)
    assert re.search(r"^unreachable: 3: .*closed the connection$", shown, re.MULTILINE)
    assert cluster.command("i", "1-2").stdout.count(b"\tup\t") == 2
    assert b"\n3\t" not in cluster.command("i", "1-2").stdout
    missing = cluster.command("i", "7")
    assert (missing.returncode, missing.stderr) == (125, b"gproc: no node of 7 is there, or was there before\n")
    some = cluster.command("i", "1,7")
    assert (some.returncode, some.stderr) == (125, missing.stderr)
    assert some.stdout.startswith(b"NODE\t")
    assert b"\n1\t" in some.stdout
    assert cluster.command("i", "x").returncode == 2


@pytest.mark.master("--orphan-timeout=4")
def test_a_node_is_down_when_its_lease_is_over(killed: tuple[Cluster, Slave]) -> None:
    cluster, _ = killed
    while (state := cluster.info()["nodes"][2]["state"]) == "unreachable":
        pass
    assert state == "down"


def test_a_node_that_was_stopped_is_not_missed(cluster: Cluster) -> None:
    *_, third = cluster.slaves_at_once(3)
    since = cluster.master.mark()
    cluster.end(third, signal.SIGTERM)
    cluster.master.says(r"left: 3 ", since=since)
    done = cluster.exec("-localbin", "--require=all", "./.", "/bin/echo", "here")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n" * 2, b"")
    assert [node["path"] for node in cluster.info()["nodes"]] == ["1", "2"]


def test_the_tree_can_be_watched(cluster: Cluster) -> None:
    cluster.slave(1)
    watching = cluster.begin("i", "--watch")
    assert watching.stdout is not None
    for _ in range(2):
        while not watching.stdout.readline().startswith(b"1 node below the master"):
            pass
    watching.send_signal(signal.SIGINT)
    assert cluster.finish(watching)[0] == 130


def test_the_last_faults_are_a_line_each(cluster: Cluster) -> None:
    """A rack master that dies, what was below it and is reached again, and the rack master's next run."""
    rack = cluster.slave(1)
    cluster.slave(2, parent=rack)
    assert cluster.command("i", "--events").stdout == b""
    assert cluster.command("i", "--events", "--json").stdout == b"[]\n"
    cluster.end(rack, signal.SIGKILL)
    cluster.master.says(r"1/2 .* is reached from here")
    cluster.master.says("cannot reach 1 ")
    [line] = cluster.command("i", "--events").stdout.decode().splitlines()
    assert re.search(
        r"\d\d:\d\d:\d\d 1 \(\S+\): cannot be reached, nor can the node below it: .*; "
        "1 of 2 are in the tree again; of the others: their programs run on until their leases end",
        line,
    )
    of_one = json.loads(cluster.command("i", "--events", "--json", "=1/2").stdout)
    assert [(fault["path"], fault["nodes_below"], fault["done_at"]) for fault in of_one] == [("1", 1, None)]
    assert cluster.command("i", "--events", "--json", "=2").stdout == b"[]\n"
