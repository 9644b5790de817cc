"""`gproc map` that is stopped, killed or left, and nodes that drain or die while it runs."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import pytest

from gproc.client.driver import PollDriver
from gproc.client.events import Started
from gproc.client.requests import program_request
from gproc.client.session import JobEvent
from gproc.request.outcome import NotStarted
from gproc.wire.tasks import Assign, Setup, TaskOrder, order_record
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.system.lists import Gate, give, numbers


@pytest.mark.parametrize("detach", [False, True], ids=["attached", "detached"])
def test_a_node_that_is_drained_gets_no_new_tasks_of_a_list_that_runs(flat: Cluster, detach: bool) -> None:
    gate = Gate(flat.place, f"drain-{detach}")
    listed = flat.work / "five"
    listed.write_bytes(b"a\nb\nc\nd\ne\n")
    switches = ("-d",) if detach else ()
    running = flat.begin("map", *switches, "-j=1", f"-a={listed}", "1-2", *gate.program)
    assert gate.runs(2) == {"a", "b"}
    drained = gate.node_of("a")
    try:
        assert flat.command("drain", drained).returncode == 0
        gate.let_go("a")
        gate.runs(1)
        for done, following in (("b", "c"), ("c", "d"), ("d", "e")):
            gate.let_go(done)
            until_s = time.monotonic() + PATIENCE_S
            while gate.running() != {following} and time.monotonic() < until_s:
                time.sleep(0.02)
            assert gate.running() == {following} and gate.node_of(following) != drained
        gate.let_go("e")
        assert flat.finish(running)[0] == 0
        assert flat.command("wait", "last").returncode == 0
    finally:
        flat.command("drain", "--resume", drained)


def test_ctrl_c_ends_every_task_and_says_what_was_not_run(flat: Cluster) -> None:
    gate = Gate(flat.place, "interrupted")
    process = flat.begin("map", "-j=1", "1-3", *gate.program, stdin=-1)
    give(process, numbers(5), ends=False)
    gate.runs(3)
    process.send_signal(signal.SIGINT)
    status, stdout, stderr = flat.finish(process)
    assert (status, stdout) == (130, "")
    assert "lines 1-3: killed by SIGINT" in stderr
    assert "SIGINT has ended it" in stderr
    flat.nothing_runs(PATIENCE_S)


def test_a_list_whose_master_was_killed_does_not_end_with_status_0(cluster: Cluster) -> None:
    cluster.slaves_at_once(2)
    gate = Gate(cluster.place, "orphans")
    process = cluster.begin("map", "-j=1", "--joblog=log", "1-2", *gate.program, stdin=-1)
    give(process, numbers(5), ends=False)
    gate.runs(2)
    cluster.end(cluster.master, signal.SIGKILL)
    status, stdout, stderr = cluster.finish(process)
    assert (status, stdout) == (125, "")
    assert "gproc: lines 1-2: lost: nobody knows whether it ran, or how it ended" in stderr
    assert "gproc: 1-2: lost: its end was not reported" in stderr
    assert "the list was not run from line 3 on" in stderr or "the rest of the list was not run" in stderr
    lines = (cluster.work / "log").read_text().splitlines()[1:]
    assert sorted(line.split("\t")[0] for line in lines) == ["1", "2"]
    gate.let_go("1", "2")
    cluster.start_master(port=cluster.port)
    cluster.master.says("is reached from here", times=2)
    cluster.nothing_runs(PATIENCE_S)


def test_a_stopped_list_begins_no_task_until_it_goes_on(flat: Cluster) -> None:
    gate = Gate(flat.place, "stopped")
    process = flat.begin("map", "-j=1", "1", *gate.program, stdin=-1)
    give(process, numbers(2))
    gate.runs(1)
    process.send_signal(signal.SIGTSTP)
    await_state(process.pid, "T")
    gate.let_go("1", "2")
    process.send_signal(signal.SIGCONT)
    status, stdout, stderr = flat.finish(process)
    assert (status, stdout, stderr) == (0, "1 on 1\n2 on 1\n", "")


def await_state(pid: int, state: str) -> None:
    """Wait until a process is in this state of proc(5)."""
    until_s = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < until_s
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [b"\0\0\0\1\xff\xff\xff\xff\xc1", b"\x7f" * 8, b"too many"], ids=repr)
def test_a_client_that_breaks_the_protocol_ends_its_own_job(flat: Cluster, sent: bytes) -> None:
    if sent == b"too many":
        many = Assign(tuple(TaskOrder(number, (b"1000",)) for number in range(400)))
        sent = order_record(Setup(1)) + order_record(many) * 2
    request = program_request(
        "1", [b"sleep", b"{}"], bundle=None, env={b"PATH": b"/bin:/usr/bin"}, cwd=b"/", stdin=True, action="map"
    )
    driver = PollDriver(str(flat.socket))
    try:
        job = driver.submit(request, None)
        while not job.ended:
            driver.wait(timeout_s=PATIENCE_S)
            for event in driver.events():
                if isinstance(event, JobEvent) and isinstance(event.event, Started):
                    driver.session.write_stdin(job, sent)
    finally:
        driver.close()
    (outcome,) = job.outcomes.values()
    assert isinstance(outcome, NotStarted)
    assert any(word in outcome.reason for word in ("not an order", "a record of", "more tasks than may wait"))
    flat.nothing_runs(PATIENCE_S)


def test_all_tasks_end_if_the_command_is_killed(flat: Cluster) -> None:
    gate = Gate(flat.place, "killed")
    process = flat.begin("map", "-j=2", "1-3", *gate.program, stdin=-1)
    give(process, numbers(9), ends=False)
    gate.runs(6)
    process.kill()
    process.communicate()
    flat.nothing_runs(PATIENCE_S)


def test_a_reader_that_goes_away_ends_it_in_silence(flat: Cluster) -> None:
    process = flat.begin("map", "-j=1", "1-3", "echo", stdin=-1)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(numbers(3))
    process.stdin.flush()
    assert process.stdout.readline()
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):  # it may have ended already
        process.stdin.write(numbers(3000))
        process.stdin.close()
    assert process.wait(PATIENCE_S) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.stress
@pytest.mark.master("--orphan-timeout=4")
def test_what_a_dead_node_had_is_lost_by_line_and_the_others_do_the_rest(cluster: Cluster) -> None:
    first, _ = cluster.slaves_at_once(2)
    gate = Gate(cluster.place, "dead")
    process = cluster.begin("map", "-j=1", "1-2", *gate.program, stdin=-1)
    give(process, numbers(6))
    (lost,) = [task for task in gate.runs(2) if gate.node_of(task) == "1"]
    cluster.end(first, signal.SIGKILL)
    gate.let_go(*map(str, range(1, 7)))
    status, stdout, stderr = cluster.finish(process)
    assert status == 125
    assert sorted(line.split()[0] for line in stdout.splitlines()) == sorted({*"123456"} - {lost})
    assert {line.split()[2] for line in stdout.splitlines()} == {"2"}
    assert f"gproc: line {lost}: lost: nobody knows whether it ran, or how it ended" in stderr
    assert "gproc: 1: lost: " in stderr


@pytest.mark.stress
def test_while_a_node_cannot_be_reached_the_others_go_on_with_the_list(cluster: Cluster) -> None:
    first, _ = cluster.slaves_at_once(2)
    gate = Gate(cluster.place, "away")
    process = cluster.begin("map", "-j=1", "1-2", *gate.program, stdin=-1)
    assert process.stdout is not None
    give(process, numbers(30))
    gate.runs(2)
    cluster.end(first, signal.SIGKILL)  # its lease goes on for longer than this test waits
    gate.let_go(*map(str, range(1, 31)))
    assert len([process.stdout.readline() for _ in range(29)]) == 29
    process.kill()
    process.communicate()
