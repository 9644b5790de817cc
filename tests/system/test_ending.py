"""How a job ends: by itself, by a signal, by its client, by a lost node; and what the client reports."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Daemon, Slave

SLEEPER = ("/bin/sh", "-c", "echo here; sleep 1000 & setsid sleep 1000 & wait")


def start(cluster: Cluster, nodes: str, count: int, *command: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
    """A job that has printed one line on each of `count` nodes."""
    job = cluster.begin("e", nodes, *(command or SLEEPER), **({} if stdin is None else {"stdin": stdin}))
    assert job.stdout is not None
    for _ in range(count):
        assert job.stdout.readline()
    return job


@pytest.fixture
def tree(cluster: Cluster) -> tuple[Cluster, Slave, Slave, Slave]:
    """A cluster with nodes 1, 2 and 1/3, which a test may end."""
    rack, other = cluster.slaves_at_once(2)
    return cluster, rack, other, cluster.slave(3, parent=rack)


@pytest.mark.parametrize(
    ("script", "status", "summary"),
    [
        ("exit 0", 0, ""),
        ("exit 3", 3, "gproc: 1-3: exit status 3\n"),
        ("exit $GPROC_NODE", 3, "gproc: 1: exit status 1\ngproc: 2: exit status 2\ngproc: 3: exit status 3\n"),
        ("[ $GPROC_NODE = 2 ] || exit 7", 7, "gproc: 1,3: exit status 7\n"),
        ("kill -SEGV $$", 128 + 11, "gproc: 1-3: killed by SIGSEGV\n"),
        ("kill -TERM $$", 128 + 15, "gproc: 1-3: killed by SIGTERM\n"),
        (
            "[ $GPROC_NODE = 1 ] && kill -KILL $$; exit 2",
            128 + 9,
            "gproc: 1: killed by SIGKILL\ngproc: 2-3: exit status 2\n",
        ),
        ("exit 255", 255, "gproc: 1-3: exit status 255\n"),
    ],
)
def test_the_highest_status_counts_and_failures_are_summed_up_by_node_set(
    flat: Cluster, script: str, status: int, summary: str
) -> None:
    done = flat.exec(".", "/bin/sh", "-c", f"ulimit -c 0; {script}")
    assert (done.returncode, done.stderr.decode()) == (status, summary)


def test_a_program_that_only_nodes_lack_is_127(flat: Cluster) -> None:
    done = flat.exec("-localbin", ".", "/nonexistent/program")
    assert done.returncode == 127
    assert done.stderr.startswith(b"gproc: 1-3: ")


def test_a_program_that_nodes_may_not_execute_is_126(flat: Cluster) -> None:
    done = flat.exec("-localbin", ".", "/etc/passwd")
    assert done.returncode == 126, done.stderr


def test_time_out_ends_the_job_everywhere_with_124(deep: Cluster) -> None:
    start_s = time.monotonic()
    done = deep.exec("--timeout", "3", "././.", *SLEEPER)
    assert done.returncode == 124
    assert done.stderr == b"gproc: 1-2,=1/1-2,=2/1,=1/1/5: timed out after 3 s\n"
    assert done.stdout == b"here\n" * 6
    assert time.monotonic() - start_s < PATIENCE_S
    deep.nothing_runs()


def test_time_out_ends_a_program_that_ignores_sigterm(flat: Cluster) -> None:
    done = flat.exec("--timeout", "0.2", ".", "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    assert done.returncode == 124
    flat.nothing_runs()


def test_a_job_that_ends_in_time_does_not_time_out(flat: Cluster) -> None:
    done = flat.exec("--timeout", "1000", ".", "/bin/sh", "-c", "exit 5")
    assert (done.returncode, done.stderr) == (5, b"gproc: 1-3: exit status 5\n")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_client_reaches_every_process_of_the_job(deep: Cluster, signum: signal.Signals) -> None:
    job = start(deep, "././.", 6, "/bin/sh", "-c", "ulimit -c 0; echo here; exec sleep 1000")
    job.send_signal(signum)
    status, _, summary = deep.finish(job)
    assert status == 128 + signum
    assert f"killed by {signum.name}\n" in summary
    deep.nothing_runs()


def test_a_program_may_handle_ctrl_c(flat: Cluster) -> None:
    script = "trap 'echo bye; exit 4' INT; echo here; while :; do sleep 0.05; done"
    job = start(flat, ".", 3, "/bin/sh", "-c", script)
    job.send_signal(signal.SIGINT)
    assert flat.finish(job) == (4, "bye\n" * 3, "gproc: 1-3: exit status 4\n")


def test_a_second_ctrl_c_kills_a_program_that_ignores_the_first(flat: Cluster) -> None:
    script = "trap 'echo no' INT; echo here; while :; do sleep 0.05; done"
    job = start(flat, ".", 3, "/bin/sh", "-c", script)
    job.send_signal(signal.SIGINT)
    assert job.stdout is not None
    assert {job.stdout.readline() for _ in range(3)} == {b"no\n"}
    job.send_signal(signal.SIGINT)
    assert flat.finish(job) == (128 + 9, "", "gproc: 1-3: killed by SIGKILL\n")
    flat.nothing_runs()


def test_sigusr1_is_passed_on_any_number_of_times(flat: Cluster) -> None:
    script = "trap 'echo usr' USR1; echo here; while :; do sleep 0.05; done"
    job = start(flat, "1", 1, "/bin/sh", "-c", script)
    assert job.stdout is not None
    for _ in range(3):
        job.send_signal(signal.SIGUSR1)
        assert job.stdout.readline() == b"usr\n"
    job.send_signal(signal.SIGTERM)
    assert flat.finish(job)[0] == 128 + 15


def test_a_signal_arrives_while_the_client_sends_much_input(flat: Cluster) -> None:
    reader, writer = os.pipe()
    job = flat.begin("e", ".", "/bin/sh", "-c", "echo here; exec cat >/dev/null", stdin=reader)
    os.close(reader)
    assert job.stdout is not None
    assert [job.stdout.readline() for _ in range(3)] == [b"here\n"] * 3
    os.write(writer, b"x" * 60_000)
    job.send_signal(signal.SIGINT)
    assert flat.finish(job)[0] == 128 + 2
    os.close(writer)


def test_a_killed_client_ends_its_job_everywhere(deep: Cluster) -> None:
    job = start(deep, "././.", 6)
    assert deep.job_processes()
    job.kill()
    deep.finish(job)
    deep.master.says(r"its client is gone")
    deep.nothing_runs()
    assert {node["jobs"] for node in deep.info()["nodes"]} == {0}


@pytest.mark.master("--orphan-timeout=8")
def test_a_killed_slave_is_lost_and_the_others_go_on(tree: tuple[Cluster, Slave, Slave, Slave]) -> None:
    cluster, _, other, _ = tree
    job = start(cluster, "./.", 3, "/bin/sh", "-c", "echo here; read line; echo $line", stdin=subprocess.PIPE)
    cluster.end(other, signal.SIGKILL)
    cluster.master.says(r"cannot reach 2 ")
    assert job.stdin is not None
    job.stdin.write(b"go on\n")
    status, stdout, summary = cluster.finish(job)
    assert (status, stdout) == (125, "go on\n" * 2)
    assert summary.count("gproc: 2: lost: ") == 1
    cluster.nothing_runs()


def test_a_terminated_slave_leaves_nothing_behind(tree: tuple[Cluster, Slave, Slave, Slave]) -> None:
    cluster, _, other, _ = tree
    job = start(cluster, "2", 1)
    cluster.end(other, signal.SIGTERM)
    assert cluster.finish(job)[0] == 125
    cluster.nothing_runs()
    assert not other.bin_root.exists()


def test_a_job_whose_client_is_gone_never_starts_on_a_node_that_was_slow(cluster: Cluster) -> None:
    cluster.slave(1)
    cluster.slaves[0].kill(signal.SIGSTOP)
    try:
        job = cluster.begin("e", "1", "/bin/sleep", "1000")
        cluster.master.says(r"job \d+: uid")
        job.kill()
        cluster.finish(job)
        cluster.master.says("its client is gone")
    finally:
        cluster.slaves[0].kill(signal.SIGCONT)
    if "cannot reach 1 " in cluster.master.log:  # on a busy machine
        cluster.master.says(r" 1 \(\S+\) is reached")
    cluster.nothing_runs()


@pytest.mark.stress
@pytest.mark.master("--orphan-timeout=8")
def test_a_stopped_slave_is_lost_after_its_silence_and_can_come_back(tree: tuple[Cluster, Slave, Slave, Slave]) -> None:
    cluster, _, other, leaf = tree
    job = start(cluster, "./.", 3, "/bin/sh", "-c", "echo here; [ $GPROC_NODE != 1 ] && exec sleep 1000; exit 0")
    since = cluster.master.mark()
    for frozen in (other, leaf):
        frozen.kill(signal.SIGSTOP)
    status, _, summary = cluster.finish(job)
    assert status == 125
    assert "2,=1/3: lost: sent nothing for 4 s" in summary
    for frozen in (other, leaf):
        frozen.kill(signal.SIGCONT)
    cluster.master.says(r" 2 \(\S+\) is reached from here", since=since)
    cluster.master.says(r" 1/3 \(\S+\) is reached by way of 1 ", since=since)
    cluster.nothing_runs()
    assert cluster.exec("./.", "/bin/echo", "x").stdout == b"x\n" * 3


def test_a_master_and_a_slave_that_are_told_to_end_again_and_again_end_in_order(cluster: Cluster) -> None:
    """A signal while the event loop was closed left a traceback, and one after that killed the process."""
    slave = cluster.slave(1)
    daemons: tuple[Daemon, ...] = (slave, cluster.master)
    for daemon in daemons:
        while daemon.process.poll() is None:
            daemon.kill(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.process.wait(0.001)  # more at once would fill the pipe that wakes the event loop
        assert daemon.wait() == 0, daemon.log
    cluster.forget(slave)
