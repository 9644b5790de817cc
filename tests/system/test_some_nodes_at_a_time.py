"""`gproc e --fanout`: one job runs on so many nodes at a time, also if its client or a node that waits ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Slave

HOLD = "touch {0}/in.$GPROC_RANK; while [ ! -e {0}/go.$GPROC_RANK ]; do sleep 0.05; done; rm {0}/in.$GPROC_RANK"
"""A program that says that it runs, and goes on when it may."""


class Held:
    """Programs that each wait for a word of the test."""

    def __init__(self, place: Path, name: str) -> None:
        self.place = place / name
        self.place.mkdir()
        self.place.chmod(0o777)
        self.program = ("/bin/sh", "-c", HOLD.format(self.place))

    def runs(self, *ranks: int) -> None:
        """Wait until exactly these run."""
        until_s = time.monotonic() + PATIENCE_S
        wanted = {f"in.{rank}" for rank in ranks}
        while (found := {name for name in os.listdir(self.place) if name.startswith("in.")}) != wanted:
            assert time.monotonic() < until_s, f"{found} run, not {wanted}"
            time.sleep(0.02)

    def let_go(self, *ranks: int) -> None:
        for rank in ranks:
            (self.place / f"go.{rank}").touch()


def test_the_next_node_begins_as_one_ends_and_all_of_it_is_one_job(deep: Cluster) -> None:
    held = Held(deep.place, "next")
    body = f"{held.program[2]}; echo $GPROC_RANK of $GPROC_SIZE; exit $GPROC_RANK"
    job = deep.begin("e", "--fanout=2", "--name=rolling", "-l", "./././.", "/bin/sh", "-c", body)
    held.runs(0, 1)
    held.let_go(1)
    held.runs(0, 2)
    listed = json.loads(deep.command("ps", "--json").stdout)
    assert [(each["name"], each["nodes"]) for each in listed] == [("rolling", "1-2,=1/1-2,=2/1,=1/1/5")]
    busy = {node["path"]: node["jobs"] for node in deep.info()["nodes"]}
    assert busy == {"1": 1, "2": 0, "1/1": 0, "1/2": 0, "2/1": 0, "1/1/5": 1}
    held.let_go(0, 2)
    held.runs(3, 4)
    held.let_go(3, 4, 5)
    status, stdout, stderr = deep.finish(job)
    places = ("1", "1/1", "1/1/5", "1/2", "2", "2/1")
    assert set(stdout.splitlines()) == {f"{place}: {rank} of 6" for rank, place in enumerate(places)}
    assert (status, stderr.splitlines()[0]) == (5, "gproc: =1/1: exit status 1")


def test_a_job_whose_client_is_killed_goes_on_to_the_last_node(flat: Cluster) -> None:
    held = Held(flat.place, "detached")
    client = flat.begin("e", "--on-disconnect=detach", "--name=alone", "--fanout=1", "1-3", *held.program)
    held.runs(0)
    client.kill()
    client.communicate()
    flat.master.says(r"job \d+: its client is gone, and it goes on")
    held.let_go(0)
    held.runs(1)
    held.let_go(1, 2)
    assert flat.command("wait", "alone").returncode == 0
    assert flat.exec("-d", "--fanout=1", "1-3", "/bin/sh", "-c", "echo $GPROC_RANK").returncode == 0
    assert flat.command("wait", "last").returncode == 0
    assert flat.command("logs", "last").stdout == b"0\n1\n2\n"


def test_after_so_many_failures_no_more_begin_and_those_that_run_go_on(deep: Cluster) -> None:
    held = Held(deep.place, "failing")
    body = f"{held.program[2]}; echo over; exit $((GPROC_RANK == 1 ? 7 : 0))"
    job = deep.begin("e", "--fanout=2", "--max-fail=1", "./././.", "/bin/sh", "-c", body)
    held.runs(0, 1)
    held.let_go(1)
    held.runs(0)
    held.let_go(0)
    status, stdout, stderr = deep.finish(job)
    assert (status, stdout) == (125, "over\nover\n")
    assert stderr.splitlines() == [
        "gproc: =1/1: exit status 7",
        "gproc: 2,=1/2,=2/1,=1/1/5: not started, because 1 node has failed",
    ]
    wrong = deep.exec("--max-fail=1", "1", "true")
    assert (wrong.returncode, wrong.stderr.endswith(b"add --fanout\n")) == (2, True)


def test_ctrl_c_ends_what_runs_and_nothing_more_begins(flat: Cluster) -> None:
    held = Held(flat.place, "interrupted")
    job = flat.begin("e", "--fanout=1", "1-3", *held.program)
    held.runs(0)
    job.send_signal(signal.SIGINT)
    status, _, stderr = flat.finish(job)
    assert (status, stderr.splitlines()) == (
        130, ["gproc: 1: killed by SIGINT", "gproc: 2-3: killed by SIGINT before it was started"],
    )  # fmt: skip


def test_one_node_that_waits_is_taken_out_and_the_others_have_their_turn(flat: Cluster) -> None:
    held = Held(flat.place, "one")
    job = flat.begin("e", "--fanout=1", "1-3", *held.program)
    held.runs(0)
    assert flat.command("kill", "last", "2").returncode == 0
    held.let_go(0, 2)
    status, _, stderr = flat.finish(job)
    assert (status, stderr) == (143, "gproc: 2: killed by SIGTERM before it was started\n")


def test_a_stopped_job_begins_on_no_more_nodes_until_it_goes_on(flat: Cluster) -> None:
    held = Held(flat.place, "stopped")
    job = flat.begin("e", "--fanout=1", "1-3", *held.program)
    held.runs(0)
    assert flat.command("kill", "-s", "TSTP", "last").returncode == 0
    assert flat.command("kill", "-s", "KILL", "last", "1").returncode == 0
    until_s = time.monotonic() + PATIENCE_S
    while any(node["jobs"] for node in flat.info()["nodes"]):
        assert time.monotonic() < until_s
    assert os.listdir(held.place) == ["in.0"], "it was killed and could not remove this"
    (held.place / "in.0").unlink()
    assert flat.command("kill", "-s", "CONT", "last").returncode == 0
    held.runs(1)
    held.let_go(1, 2)
    status, _, stderr = flat.finish(job)
    assert (status, stderr) == (137, "gproc: 1: killed by SIGKILL\n")


def test_the_time_limit_is_that_of_the_job(flat: Cluster) -> None:
    done = flat.exec("--fanout=1", "--timeout=0.5", "1-3", "/bin/sleep", "60")
    assert (done.returncode, done.stderr) == (124, b"gproc: 1-3: timed out after 0.5 s\n")


@pytest.mark.parametrize("size", [5, 3 << 20])
def test_every_node_gets_all_of_the_standard_input_when_its_turn_comes(deep: Cluster, size: int) -> None:
    data = os.urandom(size)
    done = deep.exec("--fanout=1", "./././.", "/usr/bin/sha1sum", input=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(set(done.stdout.splitlines())) == 1 and len(done.stdout.splitlines()) == 6


def test_more_input_than_is_kept_is_for_the_nodes_that_have_begun(flat: Cluster) -> None:
    done = flat.exec("--fanout=2", "1-3", "/usr/bin/wc", "-c", input=bytes(17 << 20))
    assert (done.returncode, done.stdout) == (125, 2 * f"{17 << 20}\n".encode())
    assert done.stderr == (
        b"gproc: 3: standard input has over 16 MiB, more than is kept for nodes that wait\n"
    )  # fmt: skip


@pytest.mark.stress
def test_a_node_that_leaves_while_it_waits_is_named_and_the_others_have_their_turn(cluster: Cluster) -> None:
    _, leaves, _ = cluster.slaves_at_once(3)
    assert waiting_node_ends(cluster, leaves, signal.SIGTERM) == "it was ended"


@pytest.mark.stress
@pytest.mark.master("--orphan-timeout=10")
def test_a_node_that_dies_while_it_waits_does_not_begin_and_is_given_up_with_its_lease(cluster: Cluster) -> None:
    _, dies, _ = cluster.slaves_at_once(3)
    assert waiting_node_ends(cluster, dies, signal.SIGKILL)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_a_node_whose_slave_is_restarted_while_it_waits_has_its_turn(cluster: Cluster, signum: signal.Signals) -> None:
    _, restarts, _ = cluster.slaves_at_once(3)
    held = Held(cluster.place, "restarting")
    job = cluster.begin("e", "--fanout=1", "1-3", "/bin/sh", "-c", f"{held.program[2]}; cat", stdin=subprocess.PIPE)
    held.runs(0)
    cluster.end(restarts, signum)
    cluster.slave(2)
    assert job.stdin is not None
    job.stdin.write(b"for all\n")
    held.let_go(0, 1, 2)
    stdout, stderr = job.communicate(timeout=PATIENCE_S)
    assert (job.returncode, stdout, stderr) == (0, b"for all\n" * 3, b"")


def test_a_detached_job_goes_on_with_the_nodes_that_wait_after_its_master_was_killed(cluster: Cluster) -> None:
    """The ranks that run are not begun again, and count as running."""
    slaves = cluster.slaves_at_once(4)
    held = Held(cluster.place, "crash")
    number = cluster.exec("-d", "--fanout=2", "1-4", "/bin/sh", "-c", f"echo $GPROC_NODE; {held.program[2]}").stdout
    held.runs(0, 1)
    held.let_go(0)
    held.runs(1, 2)
    cluster.end(cluster.master, signal.SIGKILL)
    cluster.start_master(port=cluster.port)
    cluster.master.says("job 1: goes on at", times=1)
    for slave in slaves:
        cluster.master.says(rf"^\S+ \S+ {slave.path} .* is reached from here")
    held.runs(1, 2)
    held.let_go(2)
    held.runs(1, 3)
    held.let_go(1, 3)
    assert cluster.command("wait", str(int(number))).returncode == 0
    assert sorted(cluster.command("logs", str(int(number))).stdout.split()) == [b"1", b"2", b"3", b"4"]


def waiting_node_ends(cluster: Cluster, slave: Slave, signum: int) -> str:
    """Run a job on three nodes, one after the other, and end the second while it waits.  Returns why it did not run."""
    held = Held(cluster.place, "ending")
    job = cluster.begin("e", "--fanout=1", "1-3", *held.program)
    held.runs(0)
    mark = cluster.master.mark()
    cluster.end(slave, signum)
    cluster.master.says("(left:|cannot reach) 2 ", since=mark)
    held.let_go(0)
    held.runs(2)
    held.let_go(2)
    status, _, stderr = cluster.finish(job)
    assert status == 125
    found = re.fullmatch("gproc: 2: its node was lost while it waited for its turn: (.*)\n", stderr)
    assert found is not None, stderr
    return found[1]


def test_nodes_whose_rack_master_dies_while_they_wait_begin_by_another_way(cluster: Cluster) -> None:
    rack, _ = cluster.slaves_at_once(2)
    cluster.slaves_at_once(2, parent=rack)
    held = Held(cluster.place, "rack")
    job = cluster.begin("e", "--fanout=1", "=1/.,2", "/bin/sh", "-c", f"{held.program[2]}; cat", stdin=-1)
    held.runs(0)
    cluster.end(rack, signal.SIGKILL)
    cluster.master.says(r"1/\d \(.*is reached from here", times=2)
    assert job.stdin is not None
    job.stdin.write(b"word\n")
    job.stdin.close()
    job.stdin = None
    held.let_go(0, 1, 2)
    status, stdout, stderr = cluster.finish(job)
    assert (status, stdout) == (0, 3 * "word\n")
    assert not re.search(": (lost|not started)", stderr)
