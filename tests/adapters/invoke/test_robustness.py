"""Faults of clients, and faults that happen to clients, masters and nodes: the server lives on, or ends cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.invoke.client import Client, await_the_end_of_jobs
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.system.flat import flat_tree

SLEEPER = {"executable_path": "/bin/sleep", "argument": "1000"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master with nodes 1 and 2."""
    with flat_tree(tmp_path_factory.mktemp("invoke"), 2) as cluster:
        yield cluster


def test_garbage_is_answered_and_the_server_lives_on(tree: Cluster) -> None:
    with Client(tree) as client:
        assert client.ask("\x1b[2J\x00garbage").startswith("F Unknown Request")
        client.send(b"\xff" * 1_000_000 + b"\r\n")
        assert client.reply().startswith("F a line is longer than")
        big = client.request([], hostname="1", executable_path="/bin/true", argument=["x" * 1000] * 1000)
        assert len(big) > 1_000_000
        client.send(big)
        assert client.reply().startswith("F the request is longer than")
        client.send(b"JOB_CREATE 1\nJOB_CREATE_END\n")
        assert client.reply().startswith("F missing: hostname")
        assert client.ask("JOB_STATUS").startswith("F JOB_STATUS needs")
        assert client.run(hostname="1", executable_path="/bin/true") == ["ACTIVE", "DONE"]


def test_a_request_may_come_byte_by_byte(tree: Cluster) -> None:
    with Client(tree) as client:
        for byte in client.request([], hostname="1", executable_path="/bin/true"):
            client.send(bytes([byte]))
        assert client.reply() == "S"
        word, _, _, job = client.notify().split()
        assert word == "CREATE_NOTIFY"
        assert client.statuses(job) == ["ACTIVE", "DONE"]


def test_ten_thousand_requests_are_answered_in_their_order(tree: Cluster) -> None:
    with Client(tree) as client:
        for first in range(0, 10_000, 500):
            client.send(b"".join(b"JOB_STATUS job-%d\r\n" % number for number in range(first, first + 500)))
            for number in range(first, first + 500):
                assert client.reply() == f"F no such job: job-{number}"


def test_two_hundred_jobs_at_once(tree: Cluster) -> None:
    with Client(tree) as client:
        client.send(b"".join(client.request([("gproc_nodes", "1-2")], hostname="any", **SLEEPER) for _ in range(200)))
        assert [client.reply() for _ in range(200)] == ["S"] * 200
        active: set[str] = set()
        while len(active) < 200:
            words = client.notify().split()
            if words[2] == "ACTIVE":
                active.add(words[1])
        assert client.ask("EXIT") == "S"
        assert client.process.wait(PATIENCE_S) == 0
    await_the_end_of_jobs(tree)


@pytest.mark.parametrize("ending", ["exit", "pipes", "inside a request", "SIGTERM", "SIGKILL", "nobody reads"])
def test_all_jobs_end_with_their_client_or_server(tree: Cluster, ending: str) -> None:
    client = Client(tree)
    for node in ("1", "2"):
        job = client.begun(hostname=node, count=3, **SLEEPER)
        assert client.notify() == f"STATUS_NOTIFY {job} ACTIVE"
    match ending:
        case "exit":
            assert client.ask("EXIT") == "S"
        case "pipes":
            client.close_pipes()
        case "inside a request":
            client.send(client.request([], hostname="1", **SLEEPER)[:-9])
            client.close_pipes()
        case "nobody reads":
            client.process.stderr.close()  # type: ignore[union-attr]
        case _:
            client.process.send_signal(signal.Signals[ending])
    status = client.process.wait(PATIENCE_S)
    await_the_end_of_jobs(tree)
    assert status == (-signal.SIGKILL if ending == "SIGKILL" else 0)
    if ending not in ("pipes", "inside a request"):
        client.process.stdin.close()  # type: ignore[union-attr]
        client.process.stdout.close()  # type: ignore[union-attr]
        client.process.stderr.close()  # type: ignore[union-attr]


def test_a_client_that_reads_no_replies_holds_up_itself_alone(tree: Cluster) -> None:
    with Client(tree) as client:
        job = client.begun(hostname="1", **SLEEPER)
        client.send(b"JOB_STATUS x\r\n" * 5000)  # 115 kB of replies, more than a pipe holds
        assert client.notify() == f"STATUS_NOTIFY {job} ACTIVE"
        assert [client.reply() for _ in range(5000)] == ["F no such job: x"] * 5000


def test_standard_error_has_notifies_alone(tree: Cluster, tmp_path: Path) -> None:
    """A log that cannot be opened, or unknown words, do not end the server and do not change what it says."""
    with Client(tree, "--what", "-x", log=tmp_path / "none" / "log") as client:
        job = client.begun(("queue_name", "q"), ("foo", "bar"), hostname="1", executable_path="/none/such")
        assert client.statuses(job)[-1] == "FAILED"
        assert client.ask("EXIT") == "S"
        assert client.end_of(notifies=True) == b""


def test_requests_may_come_from_a_file(tree: Cluster, tmp_path: Path) -> None:
    with Client(tree) as client:
        (tmp_path / "requests").write_bytes(client.request([], hostname="1", executable_path="/none") + b"EXIT\r\n")
    line = f"exec {sys.executable} -m gproc.adapters.invoke.main < {tmp_path}/requests > {tmp_path}/o 2> {tmp_path}/e"
    subprocess.run(["sh", "-c", line], env=tree.env, cwd=tree.work, timeout=PATIENCE_S, check=True)
    assert (tmp_path / "o").read_bytes() == b"S\r\nS\r\n"
    assert (tmp_path / "e").read_bytes().startswith(b"CREATE_NOTIFY 1 S ")


def test_a_person_at_a_terminal_is_told_what_this_program_is(tree: Cluster) -> None:
    ours, its = os.openpty()
    words = [sys.executable, "-m", "gproc.adapters.invoke.main", "--help"]
    with subprocess.Popen(words, stdin=its, stdout=subprocess.PIPE, env=tree.env, text=True) as server:
        os.write(ours, b"EXIT\n")
        said, _ = server.communicate(timeout=PATIENCE_S)
    os.close(ours)
    os.close(its)
    assert said.startswith("Clients of Ninf-G start this program")
    assert said.endswith("EXIT.\nS\n")  # communicate(text=True) reads CR LF as a line's end
    assert server.returncode == 0


def test_a_master_that_is_gone_is_said_and_a_new_one_is_found(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    with Client(cluster, log=tmp_path / "log") as client:
        assert "no master is listening" in client.create(hostname="1", executable_path="/bin/true")
        master = cluster.start_master()
        cluster.slave(1)
        job = client.begun(hostname="1", **SLEEPER)
        assert client.notify() == f"STATUS_NOTIFY {job} ACTIVE"
        cluster.end(master, signal.SIGINT)
        assert client.statuses(job) == ["FAILED"]
        reply = client.create(hostname="1", executable_path="/bin/true")
        assert reply.startswith("F no master is listening")
        assert client.ask(f"JOB_STATUS {job}") == "S FAILED"
        for slave in list(cluster.slaves):
            assert slave.wait() == 0
            cluster.forget(slave)
        cluster.start_master()
        cluster.slave(1)
        assert client.run(hostname="1", executable_path="/bin/true") == ["ACTIVE", "DONE"]
    cluster.stop()


def test_a_client_that_dies_while_the_master_stands_still_takes_its_server_along(tree: Cluster) -> None:
    client = Client(tree)
    client.begun(hostname="1", executable_path="/bin/true")
    os.kill(tree.master.pid, signal.SIGSTOP)
    try:
        client.send(client.request([("gproc_nodes", "=2")], hostname="any", **SLEEPER))
        client.close_pipes()
        assert client.process.wait(PATIENCE_S) == 0
    finally:
        os.kill(tree.master.pid, signal.SIGCONT)
    await_the_end_of_jobs(tree)


def test_a_node_that_is_lost_fails_its_jobs_with_the_reason(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--orphan-timeout=6")
    cluster.slave(1)
    second = cluster.slave(2)
    with Client(cluster) as client:
        job = client.begun(("gproc_reasons", "true"), hostname="2", **SLEEPER)
        assert client.notify().startswith(f"STATUS_NOTIFY {job} ACTIVE")
        os.kill(second.pid, signal.SIGKILL)
        said = client.statuses(job)
        assert said[-1].startswith("FAILED 2: lost")
        cluster.end(second, signal.SIGKILL)
        assert "no node of the tree is called 2" in client.create(hostname="2", executable_path="/bin/true")
    cluster.stop()


def test_a_log_that_nobody_reads_holds_up_no_reply(tree: Cluster, tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    with Client(tree, log=fifo) as client:
        for _ in range(1500):
            assert client.ask("garbage" + "x" * 50).startswith("F Unknown Request")
        assert client.ask("EXIT") == "S"
        assert client.process.wait(PATIENCE_S) == 0


def test_a_log_at_standard_error_does_not_become_notifies(tree: Cluster) -> None:
    with Client(tree, log=Path("/dev/stderr")) as client:
        assert client.ask("garbage").startswith("F Unknown Request")
        client.send(client.request([], hostname="1", executable_path="/bin/true"))
        assert client.reply() == "S"
        assert client.notify().startswith("CREATE_NOTIFY")
