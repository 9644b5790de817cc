"""Host names and groups as NODES, in every verb; what is printed has the names back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from gproc.trust.authority import open_authority, provision
from tests.loop import run
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

GROUPS_CONF = """\
[Main]
default: local
[local]
map: sed -n 's/^$GROUP:\\(.*\\)/\\1/p' {0}
all: echo kn1
list: sed -n 's/:.*//p' {0}
"""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """kn20 at 1 with kn1 at 1/1 and kn2 at 1/2 below it, and login1.site at 2; ClusterShell's groups of the user."""
    cluster = Cluster(tmp_path_factory.mktemp("named") / "c")
    cluster.start_master()

    def home_of(name: str) -> Path:
        home = cluster.place / name
        provision(open_authority(str(cluster.home), create=False), name, ["127.0.0.1"], str(home))
        return home

    rack = cluster.slave(1, home=home_of("kn20"))
    cluster.slave(1, parent=rack, home=home_of("kn1"))
    cluster.slave(2, parent=rack, home=home_of("kn2"))
    cluster.slave(2, home=home_of("login1.site"))
    groups = cluster.place / "groups"
    groups.write_text("pair: kn[1-2]\nrack2: kn1\n")
    (cluster.place / "clustershell").mkdir()
    (cluster.place / "clustershell" / "groups.conf").write_text(GROUPS_CONF.format(groups))
    cluster.env["XDG_CONFIG_HOME"] = str(cluster.place)
    yield cluster
    cluster.stop()


def where(cluster: Cluster, *words: str) -> list[str]:
    done = cluster.exec(*words, "/bin/sh", "-c", "echo $GPROC_NODE")
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return sorted(done.stdout.decode().split())


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["kn[1-2]"], ["1/1", "1/2"]),
        (["kn1"], ["1/1"]),
        (["kn20,kn2"], ["1", "1/2"]),
        (["login1"], ["2"]),
        (["login1.site,1/2"], ["1", "1/2", "2"]),
        (["@pair"], ["1/1", "1/2"]),
        (["@local:pair!kn2"], ["1/1"]),
        (["@rack1"], ["1", "1/1", "1/2"]),
        (["@rack1!kn20"], ["1/1", "1/2"]),
        (["@gproc:rack2"], ["2"]),
        (["@rack1&@pair,kn20"], ["1", "1/1", "1/2"]),
        (["-x", "kn1", "./."], ["1", "1/2", "2"]),
        (["-x", "@pair", "@rack1"], ["1"]),
    ],
)
def test_a_host_or_a_group_is_exactly_its_nodes(named: Cluster, words: list[str], places: list[str]) -> None:
    assert where(named, *words) == places


def test_what_is_printed_has_the_names(named: Cluster) -> None:
    done = named.exec("-l", "kn[1-2]", "/bin/sh", "-c", "echo here; exit $GPROC_RANK")
    assert sorted(done.stdout.splitlines()) == [b"kn1: here", b"kn2: here"]
    assert done.stderr == b"gproc: kn2: exit status 1\n"
    gathered = named.exec("-b", "--name=shown", "kn[1-2],kn20,2", "/bin/echo", "same")
    assert gathered.stdout == b"2,kn[1-2],kn20 (4):\nsame\n" or gathered.stdout == b"kn[1-2,20],2 (4):\nsame\n"
    events = [json.loads(line) for line in named.exec("--json", "kn1", "/bin/true").stdout.splitlines()]
    assert events[0]["nodes"] == ["kn1"] and events[1]["node"] == "kn1"
    assert named.exec("--outdir=out", "kn[1-2]", "/bin/echo", "hi").returncode == 0
    assert {path.name for path in (named.work / "out").iterdir()} == {"kn1.out", "kn1.err", "kn2.out", "kn2.err"}
    listed = json.loads(named.command("ps", "-a", "--json").stdout)
    assert [job["nodes"] for job in listed[-2:]] == ["kn1", "kn[1-2]"]


def test_a_host_that_nobody_knows_is_not_connected_and_the_others_run(named: Cluster) -> None:
    done = named.exec("kn[1-3],nosuch", "/bin/echo", "ran")
    assert (done.returncode, done.stdout) == (125, b"ran\nran\n")
    assert done.stderr == b"gproc: kn3,nosuch: not connected\n"
    alone = named.exec("kn[3-4]", "/bin/echo", "ran")
    assert (alone.returncode, alone.stdout) == (2, b"")
    assert alone.stderr == b"gproc: no node is called kn[3-4]: gproc i shows which there are\n"
    strict = named.exec("--require=all", "kn[1-3]", "/bin/echo", "ran")
    assert (strict.returncode, strict.stdout) == (125, b"")
    assert strict.stderr == b"gproc: nothing runs, because not all nodes are there: not connected: kn3\n"


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("kn[1-999999999]", "more than 20000 hosts: name fewer at once"),
        ("7[1-3]", "this could be numbers of nodes or names of hosts: write numbers without brackets, as in 1-20"),
        ("@rack2", "could be a group of ClusterShell or one of the tree"),
        ("@none", "there is no group @none: neither ClusterShell nor the master knows it"),
        ("@none:x", "ClusterShell has no source of groups 'none'"),
        ("kn[02-1]", "the range 02-1 has no numbers"),
        ("=kn1", "'=' is for paths of numbers; a host's name selects that host alone in any case"),
        ("kn20/1", "'/' goes down from a number to a number"),
    ],
)
def test_what_cannot_be_is_one_message(named: Cluster, nodes: str, message: str) -> None:
    done = named.exec(nodes, "/bin/true")
    assert done.returncode == 2
    assert message in done.stderr.decode() and done.stderr.count(b"gproc: ") == 1


def test_copies_go_to_hosts_and_come_into_directories_of_their_names(named: Cluster) -> None:
    (named.work / "sent").write_text("content")
    target = named.place / "target"
    target.mkdir()
    assert named.command("cp", "sent", f"@pair:{target}/").returncode == 0
    assert named.command("get", f"@local:pair:{target}/sent", "back").returncode == 0
    assert {str(path.relative_to(named.work)) for path in (named.work / "back").rglob("sent")} == {
        "back/kn1/sent", "back/kn2/sent",
    }  # fmt: skip
    again = named.command("get", f"kn[1-2]:{target}/sent", "back")
    assert (again.returncode, again.stderr) == (0, b"")
    missing = named.command("get", f"kn1:{target}/none", "back")
    assert missing.returncode == 1 and missing.stderr.startswith(b"gproc: kn1: ")


def test_jobs_and_the_tree_are_looked_at_by_names(named: Cluster) -> None:
    assert named.exec("--spool", "./.", "/bin/sh", "-c", "echo $GPROC_NODE").returncode == 0
    assert named.command("logs", "-l", "last", "kn2").stdout == b"kn2: 1/2\n"
    shown = named.command("i", "kn2").stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:2]] == [[b"1/2", b"kn2"]]
    for words in (("logs", "last", "nosuch"), ("kill", "last", "nosuch"), ("i", "nosuch")):
        done = named.command(*words)
        assert (done.returncode, done.stderr[:30]) == (2, b"gproc: no node is called nosuc"), words
    go = named.place / "go"
    job = named.begin("e", "kn[1-2]", "/bin/sh", "-c", f"echo up; while [ ! -e {go} ]; do sleep 0.05; done")
    assert job.stdout is not None
    assert [job.stdout.readline() for _ in range(2)] == [b"up\n"] * 2
    assert named.command("kill", "last", "kn2").returncode == 0
    go.touch()
    assert named.finish(job) == (143, "", "gproc: kn2: killed by SIGTERM\n")


def test_the_library_calls_nodes_as_its_caller_does(named: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(named.place / "cache"))
    with gproc.connect(str(named.socket)) as cluster:
        done = cluster.run("kn[1-3]", ["/bin/sh", "-c", "echo $GPROC_NODE"])
        assert done.stdout == {"kn1": b"1/1\n", "kn2": b"1/2\n"}
        assert (done.missing, done.returncode, done.summary) == ("kn3", 125, ("kn3: not connected",))

    async def later() -> tuple[str, ...]:
        async with gproc.connect_async(str(named.socket)) as cluster:
            return (await cluster.run("login1,1/1", ["/bin/true"])).nodes

    assert run(later()) == ("1", "1/1", "login1")


def test_names_are_offered_at_the_tab_key(named: Cluster) -> None:
    def offers(word: str, *expected: str) -> None:
        """A shell waits half a second for the master, which a busy machine may need longer than."""
        argv = [sys.executable, "-m", "gproc", "__complete", "e", f"--socket={named.socket}", word]
        until_s = time.monotonic() + PATIENCE_S
        while True:
            done = subprocess.run(argv, env=named.env, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
            found = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
            if found == list(expected):
                return
            assert time.monotonic() < until_s, found

    offers("kn", "kn[1-2,20]", "kn1", "kn2", "kn20")
    offers("1,kn2", "1,kn2", "1,kn20")
    offers("@", "@failed", "@pair", "@rack2", "@rack1")


def test_a_command_whose_nodes_are_numbers_does_not_import_clustershell(named: Cluster) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "gproc", f"--socket={named.socket}", "e", "1", "/bin/true"]
    done = subprocess.run(
        argv, env=named.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=True
    )
    assert "gproc.naming.naming" in done.stderr
    for module in ("ClusterShell", "gproc.naming.words", "gproc.naming.hosts", "gproc.client.resolving"):
        assert module not in done.stderr


