"""`gproc drain`: a node under repair gets no new jobs from any user, and what runs there goes on."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.test_policy import cluster_under
from tests.system.cluster import NOBODY, Cluster

STRANGER: dict[str, Any] = {"uid": NOBODY, "env": {"XDG_CACHE_HOME": "/nonexistent"}}
OPERATOR: dict[str, Any] = {"uid": 61002, "groups": (61002, 61050), "env": {"XDG_CACHE_HOME": "/nonexistent"}}

SINCE = r"drained since \d\d:\d\d:\d\d by \w+"


@pytest.fixture
def three(cluster: Cluster) -> Cluster:
    cluster.slaves_at_once(3)
    return cluster


def test_a_drained_node_is_left_out_named_and_shown(three: Cluster) -> None:
    done = three.command("drain", "--reason", "its disk", "2")
    assert (done.returncode, done.stdout) == (0, b"2: drained\n")
    done = three.exec("-localbin", "./.", "/bin/echo", "here")
    assert (done.returncode, done.stdout) == (0, b"here\n" * 2)
    assert re.fullmatch(f"gproc: 2: {SINCE}: its disk\n", done.stderr.decode())
    assert three.states()["2"] == "drained"
    assert re.search(f"^2: {SINCE}: its disk$", three.command("i").stdout.decode(), re.MULTILINE)
    assert re.fullmatch(f"2: {SINCE}: its disk\n", three.command("drain").stdout.decode())
    row = json.loads(three.exec("-localbin", "--json", "./.", "/bin/true").stdout.splitlines()[0])["drained"][0]
    assert (row["nodes"], row["why"]) == ("2", "its disk")
    assert three.command("drain", "--resume", "1-2").stdout == b"1-2: takes jobs again\n"
    done = three.exec("-localbin", "./.", "/bin/echo", "here")
    assert (done.stdout, done.stderr) == (b"here\n" * 3, b"")
    assert three.command("drain").stdout == b"no node is drained\n"


def test_who_asks_for_a_drained_node_by_number_gets_nothing_rather_than_less(three: Cluster, tmp_path: Path) -> None:
    assert three.command("drain", "1-2").returncode == 0
    refused = b"gproc: drained: 1-2: leave them out, or give them back by gproc drain --resume\n"
    for words in (("e", "-localbin", "1-3", "/bin/echo", "x"), ("cp", __file__, f"2:{tmp_path}/there")):
        done = three.command(*words)
        assert (done.returncode, done.stdout) == (125, b"")
        assert done.stderr.startswith(b"gproc: drained: ")
    assert three.exec("-localbin", "1-3", "/bin/echo", "x").stderr == refused
    assert not (tmp_path / "there").exists()
    assert three.exec("-localbin", "--exclude=1-2", "1-3", "/bin/echo", "x").stdout == b"x\n"
    done = three.exec("-localbin", "--require", "all", "./.", "/bin/echo", "x")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"not all nodes are there: drained: 1-2" in done.stderr
    assert three.command("drain", "3").returncode == 0
    done = three.exec("-localbin", "./.", "/bin/echo", "x")
    assert (done.returncode, done.stderr) == (125, b"gproc: drained: 1-3\n")


def test_jobs_that_run_there_go_on_and_are_told(three: Cluster) -> None:
    job = three.exec("-d", "-localbin", "1-2", "/bin/sh", "-c", "read x < /dev/zero; exec sleep 1000")
    number = job.stdout.split()[-1].decode()
    assert three.command("drain", "2-3").stdout == b"2-3: drained; jobs still run on 2\n"
    assert three.command("kill", "-s", "KILL", number).returncode == 0
    assert three.command("wait", number).returncode == 128 + signal.SIGKILL


def test_it_holds_over_restarts_of_master_and_slave(cluster: Cluster) -> None:
    first = cluster.slave(1)
    cluster.slave(2)
    assert cluster.command("drain", "1").returncode == 0
    cluster.end(first, signal.SIGTERM)
    cluster.slave(1)
    assert cluster.states() == {"1": "drained", "2": "up"}
    cluster.end(cluster.master, signal.SIGTERM)
    cluster.start_master()
    cluster.slave(1)
    cluster.slave(2)
    assert cluster.states() == {"1": "drained", "2": "up"}


def test_a_record_of_drained_nodes_that_is_broken_is_named(cluster: Cluster) -> None:
    cluster.slave(1)
    assert cluster.command("drain", "1").returncode == 0
    cluster.end(cluster.master, signal.SIGTERM)
    (path,) = Path(cluster.env["GPROC_HOME"]).glob("**/drained.json")
    for broken in (b"", b"[", b'[{"place": "x"}]', b"\xff"):
        path.write_bytes(broken)
        done = cluster.command("m", "--cmd-port=0")
        assert done.returncode == 125
        assert f"{path} does not hold drained nodes".encode() in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.fixture
def with_policy(tmp_path: Path, root_only: None) -> Iterator[Cluster]:
    text = 'root = true\n[[allow]]\nusers = ["*"]\n[[operate]]\ngroups = [61050]\nmay = ["drain"]\n'
    yield from cluster_under(tmp_path, text)


def test_only_who_may_drains_nodes(with_policy: Cluster) -> None:
    done = with_policy.command("drain", "1", **STRANGER)
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"drain nodes" in done.stderr
    assert with_policy.states() == {"1": "up"}
    assert with_policy.command("drain", "1", **OPERATOR).stdout == b"1: drained\n"
    assert with_policy.command("drain", "--resume", "1", **STRANGER).returncode == 125
    assert with_policy.states() == {"1": "drained"}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--resume",), 2, "say which nodes"),
        (("--reason", "x" * 201, "1"), 2, "201 characters, and 200 are possible"),
        (("7",), 125, "no connected node fits 7"),
        (("=1,x",), 2, "x"),
        (("1-",), 2, "1-"),
    ],
)
def test_what_cannot_be_drained_is_said(cluster: Cluster, words: tuple[str, ...], status: int, said: str) -> None:
    cluster.slave(1)
    done = cluster.command("drain", *words)
    assert (done.returncode, done.stdout) == (status, b"")
    assert said in done.stderr.decode()


def test_a_reason_moves_no_cursor(cluster: Cluster) -> None:
    cluster.slave(1)
    assert cluster.command("drain", "--reason", "a\x1b[2Jb\nc", "1").returncode == 0
    for words in (("drain",), ("i",), ("i", "--json"), ("e", "-localbin", "./.", "/bin/true")):
        done = cluster.command(*words)
        assert b"\x1b" not in done.stdout + done.stderr


def test_debug_says_whom_it_asks_for_what(cluster: Cluster) -> None:
    cluster.slave(1)
    done = cluster.command("drain", "-debug=3", "1")
    assert f"asks the master at {cluster.socket} to drain 1" in done.stderr.decode()


def test_a_node_that_is_named_and_not_there_is_told(cluster: Cluster) -> None:
    """It would get jobs when it comes back."""
    cluster.slave(1)
    done = cluster.command("drain", "1,9")
    assert (done.returncode, done.stdout, done.stderr) == (125, b"1: drained\n", b"gproc: 9: not connected\n")
