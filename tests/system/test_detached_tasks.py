"""`gproc map --detach`: the master has the list and hands it out, and what tasks wrote and how they ended is kept."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import pytest

import gproc
from gproc.client.driver import PollDriver
from gproc.client.events import Output, TaskExited
from gproc.client.requests import program_request
from gproc.wire.job_messages import Keep
from gproc.wire.task_messages import LIST_BYTES_MAX, TaskListing
from gproc.wire.tasks import listed_record
from tests.system.cluster import Cluster
from tests.system.lists import Gate, numbers


def detached(cluster: Cluster, *words: str, list: bytes) -> str:
    """Begin `map --detach`.  Returns the job's number."""
    done = cluster.command("map", "--detach", *words, input=list)
    assert (done.returncode, done.stderr) == (0, b"")
    return str(int(done.stdout))


def test_a_detached_list_is_run_once_and_its_output_and_outcomes_can_be_had_by_task(flat: Cluster) -> None:
    body = 'echo begin $1; echo $GPROC_NODE >&2; echo end $1; test $1 != 7'
    number = detached(flat, "-j=2", "--name=sweep", "1-3", "/bin/sh", "-c", body, "x", "{}", list=numbers(40))
    done = flat.command("wait", "sweep")
    assert (done.returncode, done.stderr.decode()) == (1, "gproc: line 7: exit status 1\n")
    log = flat.work / "log"
    done = flat.command("logs", "-k", f"--joblog={log}", number)
    assert done.returncode == 0
    assert done.stdout.decode() == "".join(f"begin {task}\nend {task}\n" for task in range(1, 41))
    nodes = done.stderr.split()
    assert len(nodes) == 40 and set(nodes) <= {b"1", b"2", b"3"}
    rows = [row.split("\t") for row in log.read_text().splitlines()[1:]]
    assert sorted(int(row[0]) for row in rows) == list(range(1, 41))
    assert [row[0] for row in rows if row[6] != "0"] == ["7"]
    tagged = flat.command("logs", "--tag", number).stdout.decode().splitlines()
    assert sorted(tagged) == sorted(f"{task}\t{word} {task}" for task in range(1, 41) for word in ("begin", "end"))
    shown = flat.command("ps", "-a").stdout.decode().splitlines()[-1].split("\t")
    assert "sweep" in shown and "1" in shown
    flat.nothing_runs()


def test_tasks_go_on_without_the_client_and_can_be_followed_attached_to_and_ended(flat: Cluster) -> None:
    gate = Gate(flat.place, "gate")
    number = detached(flat, "-j=1", "1-2", *gate.program, list=b"a\nb\nc\n")
    assert gate.runs(2) == {"a", "b"}
    following = flat.begin("logs", "-f", number)
    attached = flat.begin("attach", "--debug=1", number)
    assert attached.stderr is not None
    while b"took it as job" not in attached.stderr.readline():
        pass
    gate.let_go("a")
    assert following.stdout is not None
    assert following.stdout.readline().startswith(b"a on ")
    assert gate.runs(2) == {"b", "c"}
    assert flat.command("kill", number).returncode == 0
    done = flat.command("wait", number)
    assert done.returncode == 128 + signal.SIGTERM
    assert "lines 2-3: killed by SIGTERM" in done.stderr.decode()
    assert flat.finish(following)[0] == 0
    assert flat.finish(attached)[0] == 128 + signal.SIGTERM
    flat.nothing_runs()


def test_no_more_tasks_of_a_detached_list_begin_after_so_many_have_failed(flat: Cluster) -> None:
    number = detached(flat, "-j=1", "--max-fail=2", "1", "/bin/sh", "-c", "exit $0", "{}", list=b"0\n3\n0\n4\n0\n0\n")
    done = flat.command("wait", number)
    assert done.returncode == 2
    said = done.stderr.decode()
    assert "line 2: exit status 3" in said and "line 4: exit status 4" in said and "2 tasks have failed" in said


def test_a_detached_list_that_cannot_be_runs_nothing(flat: Cluster) -> None:
    before = flat.command("ps", "-a").stdout
    many = flat.command("map", "-d", "1-3", "true", input=(b"x" * 100_000 + b"\n") * (LIST_BYTES_MAX // 100_000 + 1))
    assert many.returncode == 2 and many.stdout == b""
    assert many.stderr.startswith(b"gproc: the list is longer than the master keeps")
    zero = flat.command("map", "-d", "1-3", "true", input=b"1\n2\0\n")
    assert zero.returncode == 125 and b"line 2 of the list has a zero byte" in zero.stderr
    shown = flat.command("map", "-d", "-k", "1-3", "true", input=b"1\n")
    assert shown.returncode == 2 and b"gproc logs --keep-order shows it later" in shown.stderr
    assert flat.command("ps", "-a").stdout == before
    plain = flat.exec("--detach", "1", "true").stdout.decode().strip()
    assert flat.command("wait", plain).returncode == 0
    refused = flat.command("logs", "-k", plain)
    assert refused.returncode == 2 and b"--keep-order is for tasks of a list" in refused.stderr


def test_a_list_whose_client_dies_before_its_end_runs_no_task(flat: Cluster) -> None:
    ran = flat.place / "ran"
    driver = PollDriver(str(flat.socket))
    request = program_request("1-3", [b"/bin/touch", os.fsencode(ran), b"{}"], bundle=None, env={}, cwd=b"/",
                              stdin=True, action="map")  # fmt: skip
    job = driver.submit(request, None, Keep("torn", detach=True), listing=TaskListing())
    while job.stdin_credit == 0:
        driver.wait()
        list(driver.events())
    driver.session.write_stdin(job, listed_record(1, (b"a",)))
    driver.wait(timeout_s=0)
    driver.close()
    done = flat.command("wait", "torn")
    assert done.returncode == 128 + signal.SIGKILL
    assert "the list was not run" in done.stderr.decode() or "the rest of the list was not run" in done.stderr.decode()
    assert not ran.exists()
    flat.nothing_runs()


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\1\xc1", listed_record(1, (b"a",))[:-1], b"\x7f\0\0\0"],
    ids=["no entry", "half an entry", "too long an entry"],
)
def test_a_list_that_is_none_ends_its_client_and_no_other(flat: Cluster, data: bytes) -> None:
    driver = PollDriver(str(flat.socket))
    request = program_request("1", [b"/bin/echo", b"{}"], bundle=None, env={}, cwd=b"/", stdin=True, action="map")
    job = driver.submit(request, None, Keep(detach=True), listing=TaskListing())
    with pytest.raises(gproc.GprocError):
        while not job.ended:
            if job.stdin_credit and data:
                driver.session.write_stdin(job, data)
                driver.session.end_stdin(job)
                data = b""
            driver.wait()
            list(driver.events())
    driver.close()
    assert flat.exec("1", "true").returncode == 0
    flat.nothing_runs()


def test_a_detached_list_whose_first_tasks_are_longer_than_a_window_does_not_hang(flat: Cluster) -> None:
    lines = b"".join(b"%d" % task * 100_000 + b"\n" for task in range(1, 10))
    number = detached(flat, "-j=4", "1-3", "/bin/sh", "-c", "echo ${#0}", "{}", list=lines + b"x" * 131_071)
    done = flat.command("wait", number)
    assert (done.returncode, done.stderr) == (0, b"")
    assert flat.command("logs", "-k", number).stdout == b"100000\n" * 9 + b"131071\n"


@pytest.mark.stress
def test_many_detached_tasks_with_output_beyond_the_window_lose_nothing(flat: Cluster) -> None:
    number = detached(flat, "1-3", "/bin/sh", "-c", "yes $0 | head -c 300000", "{}", list=numbers(300))
    done = flat.command("wait", number)
    assert (done.returncode, done.stderr) == (0, b"")
    said = flat.command("logs", "-k", number).stdout
    assert len(said) == 300 * 300_000
    at = 0
    for task in range(1, 301):
        assert set(said[at : at + 300_000].split()[:-1]) == {b"%d" % task}
        at += 300_000


def test_the_library_detaches_a_list_and_sees_its_tasks(flat: Cluster) -> None:
    with gproc.connect(str(flat.socket)) as cluster:
        job = cluster.map("1-3", ["/bin/echo", "{}", "and"], [("a", "b"), "", "c"], detach=True, local_bin=True)
        assert job.number is not None
        assert cluster.wait(job.number) == 0
        events = list(cluster.logs(job.number))
    said = {event.task.number: event.data for event in events if isinstance(event, Output) and event.task is not None}
    assert said == {1: b"a b and\n", 2: b" and\n", 3: b"c and\n"}
    assert sorted(event.task.number for event in events if isinstance(event, TaskExited)) == [1, 2, 3]


def test_an_event_loop_detaches_a_list_too(flat: Cluster) -> None:
    async def main() -> None:
        async with gproc.connect_async(str(flat.socket)) as cluster:
            job = await cluster.map("1-3", ["/bin/sh", "-c", "exit $0"], [0, 3, 0], detach=True, local_bin=True)
            assert job.number is not None and job.returncode is None
        async with gproc.connect_async(str(flat.socket)) as cluster:
            assert await cluster.wait(job.number) == 1
            events = [event async for event in cluster.logs(job.number)]
            ended = [(event.task.number, event.outcome.status) for event in events if isinstance(event, TaskExited)]
            assert sorted(ended) == [(1, 0), (2, 3), (3, 0)]
            with pytest.raises(gproc.UsageError, match="per_node"):
                await cluster.map("1-3", ["true"], [], detach=True, per_node=1000)

    asyncio.run(main())


def test_an_attached_list_goes_on_if_its_client_dies_and_shows_all_if_it_does_not(flat: Cluster) -> None:
    body = 'echo $1; echo e$1 >&2; test $1 != 7'
    words = "--on-disconnect=detach", "1-3", "/bin/sh", "-c", body, "x", "{}"
    done = flat.command("map", "-k", "-j=2", *words, input=numbers(40))
    assert (done.returncode, done.stdout) == (1, numbers(40))
    said = done.stderr.decode().splitlines()
    assert sorted(said) == sorted([*(f"e{task}" for task in range(1, 41)), "gproc: line 7: exit status 1"])

    gate = Gate(flat.place, "survives")
    client = flat.begin("map", "-j=1", "--name=orphan", "--on-disconnect=detach", "1-2", *gate.program,
                        stdin=subprocess.PIPE)  # fmt: skip
    assert client.stdin is not None
    client.stdin.write(b"a\nb\nc\n")
    client.stdin.close()
    assert gate.runs(2) == {"a", "b"}
    client.kill()
    client.wait()
    gate.let_go("a", "b", "c")
    assert flat.command("wait", "orphan").returncode == 0
    kept = flat.command("logs", "orphan").stdout.splitlines()
    assert sorted(line[:5] for line in kept) == [b"a on ", b"b on ", b"c on "]
    flat.nothing_runs()


def test_ctrl_c_ends_a_list_that_would_survive_its_client(flat: Cluster) -> None:
    gate = Gate(flat.place, "interrupted")
    client = flat.begin("map", "-j=1", "--on-disconnect=detach", "1-2", *gate.program, ":::", "a", "b", "c")
    assert gate.runs(2) == {"a", "b"}
    client.send_signal(signal.SIGINT)
    status, _, said = flat.finish(client)
    assert status == 128 + signal.SIGINT
    assert "killed by SIGINT" in said
    flat.nothing_runs()
