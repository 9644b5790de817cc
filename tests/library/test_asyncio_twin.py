"""The asyncio twin of the library does the same, and a task that is cancelled leaves nothing."""

from __future__ import annotations

import asyncio
import inspect
import os
from pathlib import Path

import pytest

import gproc
from tests.library.machines import cluster, machines
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster as Machines

__all__ = ["cluster", "machines"]


def test_communicate_on_a_loop_goes_on_after_it_was_cancelled(machines: Machines, tmp_path: Path) -> None:
    go = tmp_path / "go"
    large = bytes(3 << 20)

    async def work() -> None:
        async with gproc.connect_async(str(machines.socket)) as cluster:
            script = f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; wc -c"
            job = await cluster.popen("1,3", ["/bin/sh", "-c", script], stdin=gproc.PIPE)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await job.communicate(large)
            go.touch()
            done = await job.communicate()
            assert done.stdout == dict.fromkeys(("1", "3"), b"begun\n%d\n" % len(large))

    asyncio.run(work())


def test_the_asyncio_twin_does_the_same(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))

    async def work() -> None:
        async with gproc.connect_async(str(machines.socket)) as cluster:
            many = await asyncio.gather(*(cluster.run("3", ["echo", str(number)]) for number in range(50)))
            assert [done.stdout["3"] for done in many] == [b"%d\n" % number for number in range(50)]
            done = await cluster.run("1,3", ["sort"], input="b\na\n", text=True)
            assert set(done.stdout.values()) == {"a\nb\n"}
            async with await cluster.popen("1", ["cat"], stdin=gproc.PIPE) as job:
                assert job.stdin is not None
                await job.stdin.write(b"x" * (3 << 20))
                await job.stdin.close()
                size = 0
                async for event in job:
                    if isinstance(event, gproc.Output):
                        size += len(event.data)
                assert size == 3 << 20
            with pytest.raises(gproc.TimeoutExpired):
                await cluster.run("3", ["sleep", "1000"], timeout=0.2)
            with pytest.raises(gproc.JobRejected):
                await cluster.run("9", ["true"])
            assert [node.node for node in (await cluster.info()).nodes] == ["1", "1/2", "3"]

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
    assert machines.job_processes() == []


def test_the_asyncio_twin_copies_there_and_back(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))
    (tmp_path / "a").write_bytes(os.urandom(3 << 20))
    (tmp_path / "there").mkdir()

    async def work() -> None:
        async with gproc.connect_async(str(machines.socket)) as cluster:
            copied = await cluster.cp(str(tmp_path / "a"), f"1,3:{tmp_path}/there/", exclude="3")
            assert (copied.returncode, set(copied.outcomes)) == (0, {"1"})
            sources = [f"=1/2:{tmp_path}/there/a", f"3:{tmp_path}/there/a", f"1:{tmp_path}/a"]
            await asyncio.gather(*(cluster.get(source, str(tmp_path / "back"), timeout=60) for source in sources))
            with pytest.raises(gproc.CopyFailed, match="No such file"):
                await cluster.get(f"3:{tmp_path}/none", str(tmp_path / "back"))
            sources = [str(tmp_path / "a"), str(tmp_path / "none")]
            result = await cluster.cp(sources, f"3:{tmp_path}/there/", check=False)
            assert (result.returncode, result.complaints) == (1, (f"{tmp_path}/none: No such file or directory",))
            with pytest.raises(gproc.JobRejected):
                await cluster.get(f"9:{tmp_path}/a", str(tmp_path / "back"))
            with pytest.raises(gproc.UsageError):
                await cluster.cp(str(tmp_path / "a"), f"{tmp_path}/there/")
            with pytest.raises(gproc.SpecError):
                await cluster.get(f"1-:{tmp_path}/a", str(tmp_path / "back"))

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
    for name in ("1", "1.2", "3"):
        assert (tmp_path / "back" / name / "a").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_copy_whose_task_is_cancelled_ends_and_leaves_no_half_file(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))
    with (tmp_path / "long").open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(1 << 20))

    async def work() -> None:
        async with gproc.connect_async(str(machines.socket)) as cluster:
            running = asyncio.create_task(cluster.get(f"3:{tmp_path}/long", str(tmp_path / "back")))
            while not (tmp_path / "back" / "3").exists() or not os.listdir(tmp_path / "back" / "3"):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert os.listdir(tmp_path / "back" / "3") == []
            assert (await cluster.run("3", ["true"])).returncode == 0

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
    machines.nothing_runs()


def test_both_twins_have_the_same_calls_with_the_same_keywords() -> None:
    for name in ("run", "popen", "cp", "get", "info", "close"):
        one, other = (inspect.signature(getattr(kind, name)) for kind in (gproc.Cluster, gproc.AsyncCluster))
        assert [str(each) for each in one.parameters.values()] == [str(each) for each in other.parameters.values()]
    assert inspect.signature(gproc.connect).parameters == inspect.signature(gproc.connect_async).parameters


def test_a_task_that_is_cancelled_kills_its_job(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))

    async def work() -> None:
        async with gproc.connect_async(str(machines.socket)) as cluster:
            job = await cluster.popen("3", ["/bin/sh", "-c", "echo ready; exec sleep 1000"])
            running = asyncio.create_task(cluster.run("1", ["sleep", "1000"]))
            async for event in job:
                if isinstance(event, gproc.Output):
                    break
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            job.kill()
            await job.wait()

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))


def test_a_task_that_is_cancelled_before_the_master_answers_leaves_no_job(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))

    async def work() -> None:
        async with gproc.connect_async(str(machines.socket)) as cluster:
            bundle = gproc.pack("sleep")
            begin = (cluster.run, cluster.popen)
            tasks = [asyncio.create_task(call("3", ["sleep", "1000"], bundle=bundle)) for call in begin]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
            while any(node.jobs for node in (await cluster.info()).nodes):
                pass

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
    machines.nothing_runs()
