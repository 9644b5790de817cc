"""A master ends, or crashes and comes back: what nodes and jobs do meanwhile and afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.patience import PATIENCE_S
from tests.system.as_user import gproc_as
from tests.system.cable import Cable
from tests.system.cluster import Cluster, Daemon, Slave, await_ends
from tests.system.screen import Screen


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def cable(cluster: Cluster) -> Iterator[Cable]:
    """A way to the master that can be cut."""
    way = Cable(cluster.port)
    yield way
    way.close()


def restarted(cluster: Cluster, signum: signal.Signals, *switches: str) -> None:
    """End the master, and start it again on the same port."""
    cluster.end(cluster.master, signum)
    cluster.start_master(*switches, port=cluster.port)


# A clean end


@pytest.mark.stress
def test_a_node_that_was_cut_off_when_the_tree_ended_ends_too_when_it_finds_a_master_again(
    cluster: Cluster, cable: Cable
) -> None:
    cut_off = cluster.launch_slave("--id=1", parent=cable.port)
    cluster.joined(cut_off, cluster.master)
    below = cluster.slave(1, parent=cut_off)
    cable.cut()
    cluster.master.says(r"cannot reach 1 \(\S+\) and the node below it, =1/1: ")
    cluster.end(cluster.master, signal.SIGTERM)
    cut_off.says("lost the parent")
    cluster.start_master(port=cluster.port)
    cable.mend()
    for slave in (cut_off, below):
        slave.says("shut down: ")
        assert slave.wait() == 0
        cluster.forget(slave)
    fresh = cluster.slave(1)
    assert cluster.exec(".", "/bin/echo", "here").stdout == b"here\n"
    assert fresh.path == "1"


@pytest.mark.stress
def test_a_node_that_was_cut_off_hears_of_the_end_below_a_rack_master_too(cluster: Cluster, cable: Cable) -> None:
    rack = cluster.launch_slave("--id=1", parent=cable.port)
    cluster.joined(rack, cluster.master)
    port = rack.port
    own = Cable(port)
    try:
        cut_off = cluster.launch_slave("--id=2", parent=own.port)
        cluster.joined(cut_off, rack)
        own.cut()
        cable.refuse()  # so the node can reach its rack master alone
        cluster.master.says("cannot reach 1/2 ")
        cluster.end(cluster.master, signal.SIGTERM)
        assert rack.wait() == 0
        cluster.forget(rack)
        cluster.start_master(port=cluster.port)
        cluster.slave(1, port=port)
        own.mend()
        cut_off.says("shut down: the master of this node's session had ended when the node was cut off")
        assert cut_off.wait() == 0
        cluster.forget(cut_off)
    finally:
        own.close()


# The master stays away


@pytest.mark.master("--orphan-timeout=4")
def test_a_slave_that_is_told_so_looks_for_the_master_for_a_while_and_not_for_ever(cluster: Cluster) -> None:
    waits, gives_up = cluster.slave(1), cluster.slave(2, "--exit-after=2")
    begun = cluster.begin("e", "-localbin", ".", "/bin/sh", "-c", "echo here; exec sleep 1000")
    assert begun.stdout is not None
    assert [begun.stdout.readline() for _ in range(2)] == [b"here\n"] * 2
    cluster.end(cluster.master, signal.SIGKILL)
    begun.communicate()
    gives_up.says(r"the master has not been heard for 2 s: ending \(--exit-after\)")
    assert gives_up.wait() == 125
    cluster.forget(gives_up)
    waits.says("the master has not answered for 4 s: jobs end here")
    cluster.nothing_runs()
    cluster.start_master(port=cluster.port)
    cluster.master.says(r"1 \(\S+\) is reached from here")


# The master crashes and comes back


def test_a_master_that_could_not_listen_has_not_crashed(cluster: Cluster) -> None:
    """The next one with its state said that it went on after a crash."""
    own = (f"--socket={cluster.place}/other", f"--state={cluster.place}/other-state")
    second = Daemon([*gproc_as(None), "m", f"-cmdport={cluster.port}", *own], cluster.env, cluster.work)
    assert second.wait() == 125
    assert f"cannot listen on port {cluster.port}" in second.log
    third = Daemon([*gproc_as(None), "m", "-cmdport=0", *own], cluster.env, cluster.work)
    third.says(r"master on \S+, port \d+, commands at")
    third.kill(signal.SIGINT)
    assert third.wait() == 0
    assert "going on after a crash" not in third.log


MEBIBYTES: Final = 20

WRITES: Final = f"""
i=0
while [ $i -lt {MEBIBYTES} ]; do
    head -c 1048575 /dev/zero | tr '\\0' "$(printf '\\%03o' $((65 + (i + GPROC_RANK) % 26)))"
    echo
    i=$((i + 1))
done
"""
"""Each mebibyte is of another letter, so that what is lost, repeated or out of order shows."""


def written(rank: int) -> bytes:
    return b"".join(bytes([65 + (number + rank) % 26]) * ((1 << 20) - 1) + b"\n" for number in range(MEBIBYTES))


def detached(cluster: Cluster, *words: str) -> str:
    """Begin a job with --detach.  Returns its number."""
    done = cluster.exec("--detach", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    return str(int(done.stdout))


def command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def spooled_bytes(cluster: Cluster, number: str) -> int:
    place = cluster.home / "state" / "jobs" / "spool" / number
    return sum(file.stat().st_size for file in place.iterdir()) if place.exists() else 0


class Racks(NamedTuple):
    """A master, rack masters 1 and 2, and the slaves 1/1, 1/2 and 2/1."""

    cluster: Cluster
    racks: tuple[Slave, Slave]
    below: tuple[Slave, Slave, Slave]


@pytest.fixture
def racks(cluster: Cluster) -> Racks:
    first, second = cluster.slaves_at_once(2)
    one, two = cluster.slaves_at_once(2, parent=first)
    return Racks(cluster, (first, second), (one, two, cluster.slave(1, parent=second)))


def test_all_output_of_a_detached_job_is_there_once_although_its_master_was_killed_in_the_middle(racks: Racks) -> None:
    """Node 2 passes on what 2/1 writes, and runs a program itself."""
    cluster = racks.cluster
    number = detached(cluster, "-localbin", "=1/1-2,2/1", "/bin/sh", "-c", f"{WRITES} exit $GPROC_RANK")
    while spooled_bytes(cluster, number) < 8 << 20:
        time.sleep(0.01)
    restarted(cluster, signal.SIGKILL)
    cluster.master.says("going on after a crash of the master: 5 nodes and 1 jobs are expected")
    assert spooled_bytes(cluster, number) < 4 * MEBIBYTES << 20
    done = cluster.command("wait", number)
    ends = "gproc: =1/2: exit status 1\ngproc: 2: exit status 2\ngproc: =2/1: exit status 3\n"
    assert (done.returncode, done.stderr.decode()) == (3, ends)
    for rank, node in enumerate(("1/1", "1/2", "2", "2/1")):
        said = cluster.command("logs", number, f"={node}").stdout
        assert (rank, len(said), digest(said)) == (rank, MEBIBYTES << 20, digest(written(rank)))
    assert cluster.exec("./.", "/bin/echo", "well").stdout == b"well\n" * 5


def test_a_detached_job_is_seen_followed_and_killed_after_its_master_has_come_back(racks: Racks) -> None:
    cluster = racks.cluster
    go = cluster.place / "go"
    body = f"echo before; while [ ! -e {go} ]; do sleep 0.05; done; echo after; sleep 1000"
    number = detached(cluster, "--name=goes-on", "./.", "/bin/sh", "-c", body)
    while cluster.command("logs", number).stdout != b"before\n" * 5:
        pass
    restarted(cluster, signal.SIGKILL)
    following = cluster.begin("logs", "-f", "goes-on")
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(5)] == [b"before\n"] * 5
    go.touch()
    assert [following.stdout.readline() for _ in range(5)] == [b"after\n"] * 5
    [row] = json.loads(cluster.command("ps", "--json").stdout)
    assert (row["job"], row["name"], row["state"]) == (int(number), "goes-on", "running")
    restarted(cluster, signal.SIGKILL)
    following.communicate()
    assert cluster.command("kill", "-s", "TERM", "goes-on").returncode == 0
    done = cluster.command("wait", "goes-on")
    assert (done.returncode, done.stderr) == (128 + 15, b"gproc: 1-2,=1/1-2,=2/1: killed by SIGTERM\n")
    assert cluster.command("logs", number).stdout == b"before\n" * 5 + b"after\n" * 5
    cluster.nothing_runs()


def test_attach_does_not_call_a_detached_job_lost_that_goes_on_after_the_crash_of_its_master(cluster: Cluster) -> None:
    cluster.slaves_at_once(2)
    go = cluster.place / "go"
    body = f"[ $GPROC_RANK = 0 ] && exit 3; while [ ! -e {go} ]; do echo before; sleep 0.05; done; echo after"
    number = detached(cluster, "--name=stays", "1-2", "/bin/sh", "-c", body)
    attached = cluster.begin("attach", "stays")
    assert attached.stdout is not None and attached.stdout.readline() == b"before\n"
    restarted(cluster, signal.SIGKILL)
    status, _, said = cluster.finish(attached)
    assert status == 125 and "lost" not in said, said
    assert said.endswith(f"goes on if it is detached: start the master again, then gproc attach {number}\n"), said
    go.touch()
    assert cluster.command("wait", "stays").returncode == 3
    assert cluster.command("logs", "stays").stdout.endswith(b"before\nafter\n")


def test_a_job_ends_whose_client_died_with_its_master_unless_it_survives_its_client(racks: Racks) -> None:
    cluster = racks.cluster
    clients = []
    for words in (("e", "./.", "sleep", "1000"), ("e", "--on-disconnect=detach", "./.", "sleep", "1001")):
        client = cluster.begin(*words[:-2], "/bin/sh", "-c", f"echo here; exec {' '.join(words[-2:])}")
        clients.append(client)
        assert client.stdout is not None
        assert [client.stdout.readline() for _ in range(5)] == [b"here\n"] * 5
    assert len(json.loads(cluster.command("ps", "--json").stdout)) == 2
    restarted(cluster, signal.SIGKILL)
    for client in clients:
        client.communicate()
    rows = {row["job"]: row["state"] for row in json.loads(cluster.command("ps", "-a", "--json").stdout)}
    assert rows == {1: "lost", 2: "running"}
    await_ends([pid for pid in cluster.job_processes() if b"1001" not in command_line(pid)], PATIENCE_S)
    cluster.master.says("job 2: goes on at", times=1)
    assert {command_line(pid) for pid in cluster.job_processes()} == {b"sleep\x001001\x00"}
    assert cluster.command("kill", "2").returncode == 0
    assert cluster.command("wait", "2").returncode == 128 + 15
    assert cluster.command("logs", "2").stdout == b"here\n" * 5


def test_input_goes_on_where_it_was_cut_off_and_each_node_has_all_of_it_once(racks: Racks) -> None:
    cluster, numbers = racks.cluster, b"".join(b"%08d\n" % number for number in range(400_000))
    client = cluster.begin(
        "e", "--on-disconnect=detach", "--name=fed", "=1/1-2,2/1", "cat", stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert client.stdin is not None
    stdin = client.stdin

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError):
            stdin.write(numbers)
            client.wait()  # its input does not end before itself
        with contextlib.suppress(BrokenPipeError):
            stdin.close()

    feeding = threading.Thread(target=feed)
    feeding.start()
    while spooled_bytes(cluster, "1") < 4 << 20:
        time.sleep(0.01)
    restarted(cluster, signal.SIGKILL)
    client.wait()
    feeding.join()
    attached = cluster.command("attach", "fed", input=b"the end\n")
    assert (attached.returncode, attached.stderr) == (0, b"")
    assert cluster.command("wait", "fed").returncode == 0
    said = {node: cluster.command("logs", "fed", f"={node}").stdout for node in ("1/1", "1/2", "2", "2/1")}
    [whole] = set(said.values())
    first, rest = whole[: -len(b"the end\n")], whole[-len(b"the end\n") :]
    assert len(first) > 1 << 20
    assert digest(first) == digest(numbers[: len(first)])
    assert rest == b"the end\n"


def test_a_shell_on_a_node_that_its_client_has_left_can_be_typed_into_after_the_crash(cluster: Cluster) -> None:
    """Its first input was given before anything was kept."""
    cluster.slave(1)
    first = Screen(cluster, "-t", "--name=shell", "1", "/bin/sh")
    try:
        first.shows(r"\$ ")
        first.type("x=4$((1+1)); echo is $x\n")
        first.shows(r"is 42\s+\$ ")
        first.type("\x10\x11")
        assert first.ends() == 0
    finally:
        first.close()
    restarted(cluster, signal.SIGKILL)
    second = Screen(cluster, "shell", mode="attach", rows=20, columns=77)
    try:
        second.type("\n")
        second.shows(r"\$ ")
        second.type("echo has $x; stty size\n")
        second.shows(r"has 42\s+20 77")
        second.type("exit 7\n")
        assert second.ends() == 7
    finally:
        second.close()


@pytest.mark.stress
@pytest.mark.master("--orphan-timeout=8")
def test_nodes_whose_rack_master_dies_with_the_master_come_back_without_it(racks: Racks) -> None:
    cluster, rack = racks.cluster, racks.racks[0]
    number = detached(cluster, "-localbin", "1/1-2", "/bin/sh", "-c", f"{WRITES} exit $GPROC_RANK")
    while spooled_bytes(cluster, number) < 8 << 20:
        time.sleep(0.01)
    cluster.end(cluster.master, signal.SIGKILL)
    cluster.end(rack, signal.SIGKILL)
    cluster.start_master("--orphan-timeout=8", port=cluster.port)
    done = cluster.command("wait", number)
    assert done.returncode == 125
    assert done.stderr.decode().splitlines()[-3:] == [
        "gproc: 1: lost: it has not come back since the master crashed",
        "gproc: =1/1: exit status 1",
        "gproc: =1/2: exit status 2",
    ]
    for rank, node in enumerate(("1/1", "1/2"), 1):
        said = cluster.command("logs", number, f"={node}").stdout
        assert (rank, len(said), digest(said)) == (rank, MEBIBYTES << 20, digest(written(rank)))


@pytest.mark.stress
def test_a_master_that_is_killed_again_and_again_loses_nothing(racks: Racks) -> None:
    """At times from a seed: while nodes join, while jobs are sent to them again, and while they write."""
    cluster, chance = racks.cluster, random.Random(14)
    slow = WRITES.replace("i=$((i + 1))", "i=$((i + 1)); sleep 0.7")
    number = detached(cluster, "-localbin", "./.", "/bin/sh", "-c", f"{slow} exit $GPROC_RANK")
    for _ in range(12):
        time.sleep(chance.uniform(0, 1.5))
        restarted(cluster, signal.SIGKILL)
    done = cluster.command("wait", number)
    assert done.returncode == 4, done.stderr
    for rank, node in enumerate(("1", "1/1", "1/2", "2", "2/1")):
        said = cluster.command("logs", number, f"={node}").stdout
        assert (rank, len(said), digest(said)) == (rank, MEBIBYTES << 20, digest(written(rank)))


@pytest.mark.stress
@pytest.mark.master("--orphan-timeout=6")
def test_a_node_that_does_not_come_back_after_the_crash_is_lost_with_its_lease(cluster: Cluster) -> None:
    stays, goes = cluster.slave(1), cluster.slave(2)
    number = detached(cluster, ".", "/bin/sh", "-c", "echo here; exec sleep 1000")
    while cluster.command("logs", number).stdout != b"here\n" * 2:
        pass
    cluster.end(cluster.master, signal.SIGKILL)
    cluster.end(goes, signal.SIGKILL)
    cluster.start_master("--orphan-timeout=6", port=cluster.port)
    waiting = cluster.begin("wait", number)
    stays.says("joined", times=2)
    cluster.master.says("1 .* is reached from here")
    assert cluster.command("kill", "-s", "INT", number).returncode == 0
    status, _, errors = cluster.finish(waiting)
    assert status == 130
    assert errors.splitlines()[-2:] == [
        "gproc: 1: killed by SIGINT",
        "gproc: 2: lost: it has not come back since the master crashed",
    ]
