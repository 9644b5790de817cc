"""Tasks in the library: iterators of results, an executor, and the same on an event loop."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor, wait
from pathlib import Path

import pytest

import gproc
from gproc.tasks.site import AHEAD_MAX
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster


def test_a_task_begins_before_the_next_value_is_there(cluster: gproc.Cluster, tmp_path: Path) -> None:
    """None began until there were as many values as slots: a list that grows slowly stood still."""

    def growing() -> Iterator[Path]:
        for number in range(4):
            yield tmp_path / str(number)
            await_file(tmp_path / str(number))

    results = list(cluster.map("1-2", ["/bin/touch"], growing(), per_node=8, local_bin=True))
    assert [result.returncode for result in results] == [0] * 4


def test_a_task_on_a_loop_begins_before_the_next_value_is_there(nodes: Cluster, tmp_path: Path) -> None:
    def growing() -> Iterator[Path]:
        for number in range(4):
            yield tmp_path / str(number)
            await_file(tmp_path / str(number))

    async def main() -> None:
        async with gproc.connect_async(str(nodes.socket)) as cluster:
            results = cluster.map("1-2", ["/bin/touch"], growing(), per_node=8, local_bin=True)
            assert [result.returncode async for result in results] == [0] * 4

    asyncio.run(main())


def await_file(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_results_are_in_the_order_of_the_values_and_have_all_of_a_task(cluster: gproc.Cluster) -> None:
    program = ["/bin/sh", "-c", "echo $0 $GPROC_NODE; echo e$0 >&2; exit $0", "{}"]
    results = list(cluster.map("1-2", program, [3, "0", b"7"], per_node=1))
    assert [(result.index, result.values, result.returncode) for result in results] == [
        (0, ("3",), 3), (1, ("0",), 0), (2, ("7",), 7),
    ]  # fmt: skip
    for result in results:
        word = result.values[0].encode()
        assert (result.stdout, result.stderr) == (word + b" " + result.node.encode() + b"\n", b"e" + word + b"\n")
        assert result.seconds > 0
    assert results[0].outcome == gproc.Returned(3)


def test_values_are_read_as_tasks_are_handed_out_and_leaving_ends_what_runs(
    nodes: Cluster, cluster: gproc.Cluster
) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        yield 0
        while True:
            taken.append(1000)
            yield 1000

    with cluster.map("1-2", ["/bin/sleep"], endless(), per_node=2) as results:
        assert next(results).values == ("0",)
        assert len(taken) < 2 * (2 + AHEAD_MAX)
    nodes.nothing_runs(PATIENCE_S)
    assert cluster.run("1", ["echo", "on"]).stdout == {"1": b"on\n"}


def test_an_error_of_the_values_ends_the_tasks_and_is_the_callers(nodes: Cluster, cluster: gproc.Cluster) -> None:
    def broken() -> Iterator[str]:
        yield "1000"
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(cluster.map("1", ["/bin/sleep"], broken(), per_node=2))
    nodes.nothing_runs(PATIENCE_S)


def test_tasks_that_were_not_run_are_an_error_with_status_and_summary(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.TasksNotRun) as told:
        list(cluster.map("1-2", ["nonesuch"], range(100), local_bin=True))
    assert told.value.returncode == 127
    assert "nonesuch" in told.value.summary[0]
    results = cluster.map("1-2", ["/bin/false"], range(100), max_fail=3, per_node=1)
    assert 3 <= len(list(results)) < 100
    assert results.returncode >= 3
    assert "tasks have failed" in results.summary[-1]


@pytest.mark.parametrize(
    ("values", "options", "told"),
    [
        (["a\0b"], {}, "zero byte"),
        ([], {"per_node": 1000}, "per_node is 1000"),
        ([], {"timeout": 0.0}, "timeout is 0.0"),
        ([], {"fanout": 2}, "fanout is for a job"),
        ([], {"on_disconnect": "detach"}, "on_disconnect is for a job"),
    ],
)
def test_what_cannot_be_asked_for_is_said(
    cluster: gproc.Cluster, values: list[str], options: dict[str, int], told: str
) -> None:
    with pytest.raises(gproc.UsageError, match=told):
        list(cluster.map("1", ["echo"], values, **options))  # type: ignore[call-overload]


def test_no_values_are_no_tasks(cluster: gproc.Cluster) -> None:
    assert list(cluster.map("1-2", ["echo"], [])) == []


def test_a_time_limit_is_that_of_each_task(cluster: gproc.Cluster) -> None:
    (result,) = cluster.map("1", ["/bin/sleep"], [1000], timeout=1.0)
    assert (result.outcome.kind, result.returncode) == ("timed out", 124)


def test_an_executor_for_commands_makes_progress_by_itself_with_one_thread(cluster: gproc.Cluster) -> None:
    before = threading.active_count()
    pool = cluster.executor("1-2", ["/bin/sh", "-c", "echo $0-$1", "{}"])
    assert isinstance(pool, Executor)
    with pool:
        assert threading.active_count() == before + 1
        futures = [pool.submit(number, "x") for number in range(30)]
        done, left = wait(futures, PATIENCE_S)
        assert (len(done), left) == (30, set())
        assert [future.result().stdout for future in futures] == [b"%d-x\n" % number for number in range(30)]
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit("x")
    with pytest.raises(gproc.UsageError), cluster.executor("1", ["echo", *["{}"] * 100]) as other:
        other.submit("a" * 100_000)


def test_futures_can_be_cancelled_before_they_are_handed_out(nodes: Cluster, cluster: gproc.Cluster) -> None:
    go = nodes.place / "go"
    pool = cluster.executor("1", ["/bin/sh", "-c", f"while [ ! -e {go} ]; do sleep 0.05; done"], per_node=1)
    futures = [pool.submit(number) for number in range(4)]
    pool.shutdown(wait=False, cancel_futures=True)
    go.touch()
    pool.shutdown()
    assert all(future.cancelled() for future in futures[1:])
    assert futures[0].cancelled() or futures[0].result().returncode == 0
    nodes.nothing_runs(PATIENCE_S)


ENDS = """
import os, sys, gproc
cluster = gproc.connect(sys.argv[1])
pool = cluster.executor("1-2", ["/bin/sh", "-c", "exit $0"], per_node=1)
for number in range(20):
    pool.submit(number % 3).add_done_callback(lambda future: print(future.result().returncode, flush=True))
"""

ALL = ["0"] * 7 + ["1"] * 7 + ["2"] * 6


@pytest.mark.parametrize(
    ("last", "status"),
    [("", 0), ("sys.exit(3)", 3), ("raise OSError", 1), ("pool.shutdown(wait=False)", 0), ("del pool, cluster", 0)],
)
def test_a_program_that_ends_without_shutdown_lost_what_it_had_submitted(
    nodes: Cluster, last: str, status: int
) -> None:
    done = ended_program(nodes, last)
    assert (done.returncode, sorted(done.stdout.split())) == (status, ALL), done.stderr
    assert "OSError" in done.stderr or not done.stderr


def test_a_process_that_the_program_forked_waits_for_no_tasks_and_ends_none(nodes: Cluster) -> None:
    last = "child = os.fork()\nif child == 0: sys.exit(9)\nprint(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    done = ended_program(nodes, last)
    assert (done.returncode, sorted(done.stdout.split())) == (0, [*ALL, "9"]), done.stderr


def ended_program(nodes: Cluster, last: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", ENDS + last, str(nodes.socket)]
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, env=nodes.env, cwd=nodes.work)


def test_futures_of_tasks_that_cannot_be_run_have_the_reason(cluster: gproc.Cluster) -> None:
    with cluster.executor("1-2", ["nonesuch"], local_bin=True) as pool:
        error = pool.submit("x").exception(PATIENCE_S)
        assert isinstance(error, gproc.TasksNotRun)
        assert error.returncode == 127


def test_futures_end_if_the_connection_is_closed(nodes: Cluster) -> None:
    with gproc.connect(str(nodes.socket)) as cluster:
        pool = cluster.executor("1", ["/bin/sleep"])
        future = pool.submit("1000")
    assert isinstance(future.exception(PATIENCE_S), gproc.LinkLost)
    pool.shutdown()
    nodes.nothing_runs(PATIENCE_S)


def test_an_executor_whose_job_ends_at_once_is_not_kept_for_as_long_as_the_program_lasts(
    nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread took back what was registered for the end of the program, and only then it was registered."""
    usual = threading.Thread.start

    def ended() -> weakref.ref[Executor]:
        cluster = gproc.connect(str(nodes.socket))

        def start_and_end(thread: threading.Thread) -> None:
            cluster.close()
            usual(thread)
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start_and_end)
            return weakref.ref(cluster.executor("1", ["/bin/true"]))

    executor = ended()
    gc.collect()
    assert executor() is None


def test_an_event_loop_has_the_same_and_leaving_ends_what_runs(nodes: Cluster) -> None:
    async def main() -> None:
        async with gproc.connect_async(str(nodes.socket)) as cluster:
            said = [result.stdout async for result in cluster.map("1-2", ["echo"], range(30))]
            assert said == [b"%d\n" % number for number in range(30)]
            with pytest.raises(gproc.TasksNotRun):
                async for _ in cluster.map("1-2", ["nonesuch"], [1], local_bin=True):
                    pass
            results = cluster.map("1-2", ["/bin/sleep"], ["0", "1000", "1000"], ordered=False)
            async for result in results:
                assert result.index == 0
                break
            await results.aclose()
            await asyncio.to_thread(nodes.nothing_runs, PATIENCE_S)

    asyncio.run(main())


def test_values_of_an_asynchronous_iterable_are_awaited_while_tasks_run(nodes: Cluster) -> None:
    """It was refused, as an object that is not iterable.  Here each value is made of the result before it."""

    async def main() -> None:
        async with gproc.connect_async(str(nodes.socket)) as cluster:
            said: asyncio.Queue[bytes] = asyncio.Queue()

            async def growing() -> AsyncGenerator[str]:
                yield "x"
                for _ in range(3):
                    yield (await said.get()).decode().strip() + "x"

            gathered = []
            async for result in cluster.map("1-2", ["echo"], growing()):
                gathered.append(result.stdout)
                said.put_nowait(result.stdout)
            assert gathered == [b"x\n", b"xx\n", b"xxx\n", b"xxxx\n"]
            job = await cluster.map("1-2", ["/bin/sh", "-c", "exit $0"], two_values(), detach=True)
            assert job.number is not None
            assert await cluster.wait(job.number) == 1
            with pytest.raises(ZeroDivisionError):
                async for _ in cluster.map("1-2", ["/bin/sleep"], failing()):
                    pass
            left = cluster.map("1-2", ["/bin/true"], silent_after_one())
            assert (await anext(left)).returncode == 0
            await left.aclose()
            await asyncio.to_thread(nodes.nothing_runs, PATIENCE_S)

    asyncio.run(main())


async def two_values() -> AsyncGenerator[int]:
    yield 0
    yield 3


async def failing() -> AsyncGenerator[int]:
    yield 1000
    raise ZeroDivisionError


async def silent_after_one() -> AsyncGenerator[int]:
    yield 0
    await asyncio.Event().wait()
