"""`import gproc`: jobs, copies and the tree for programs, on a real cluster."""

from __future__ import annotations

import asyncio
import inspect
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from gproc.client.requests import current_umask
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster as Machines


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A master with node 1 and its child 1/2, and node 3."""
    machines = Machines(tmp_path_factory.mktemp("library") / "c")
    machines.start_master()
    first = machines.slave(1)
    machines.slave(2, parent=first)
    machines.slave(3)
    yield machines
    machines.stop()


@pytest.fixture
def cluster(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> Iterator[gproc.Cluster]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))
    monkeypatch.chdir(machines.work)
    with gproc.connect(str(machines.socket)) as cluster:
        yield cluster


def test_output_and_outcome_come_back_by_node(cluster: gproc.Cluster) -> None:
    done = cluster.run("./.", ["/bin/sh", "-c", 'echo "$GPROC_NODE"; echo no >&2; exit "$GPROC_RANK"'])
    assert done.nodes == ("1", "1/2", "3")
    assert done.stdout == {"1": b"1\n", "1/2": b"1/2\n", "3": b"3\n"}
    assert set(done.stderr.values()) == {b"no\n"}
    assert done.outcomes == {"1": gproc.Returned(0), "1/2": gproc.Returned(1), "3": gproc.Returned(2)}
    assert done.returncode == 2


def test_input_goes_to_every_node_and_text_is_decoded(cluster: gproc.Cluster) -> None:
    done = cluster.run("=1/.,3", ["sort"], input="b\nä\na\n", text=True, env={"LC_ALL": "C"}, timeout=PATIENCE_S)
    assert done.stdout == {"1/2": "a\nb\nä\n", "3": "a\nb\nä\n"}
    with pytest.raises(TypeError):
        cluster.run("3", ["cat"], input="text")


def test_encoding_or_errors_alone_gave_bytes(machines: Machines, cluster: gproc.Cluster) -> None:
    assert cluster.run("3", ["cat"], input="ä", encoding="latin-1").stdout == {"3": "ä"}
    assert cluster.run("3", ["printf", r"\344"], errors="replace").stdout == {"3": "\ufffd"}
    assert cluster.run("3", ["printf", r"\344"], text=False, encoding="latin-1").stdout == {"3": "ä"}
    assert cluster.run("3", ["printf", "x"], encoding=None, errors=None).stdout == {"3": b"x"}
    with pytest.raises(TypeError):
        cluster.run("3", ["cat"], input=b"text", encoding="utf-8")
    with pytest.raises(LookupError, match="nonesuch"):
        cluster.run("3", ["touch", "/nowhere"], encoding="nonesuch")
    async def later() -> str:
        async with gproc.connect_async(str(machines.socket)) as other:
            return (await other.run("3", ["cat"], input="ä", encoding="latin-1")).stdout["3"]

    assert asyncio.run(later()) == "ä"


def test_a_megabyte_goes_through_a_program_that_writes_while_it_reads(cluster: gproc.Cluster) -> None:
    data = os.urandom(3 << 20)
    done = cluster.run("1-3", ["cat"], input=data)
    assert set(done.stdout.values()) == {data}


def test_check_raises_what_failed_and_where(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.JobFailed, match=r"3: exit status 4") as raised:
        cluster.run("1,3", ["/bin/sh", "-c", '[ "$GPROC_NODE" = 1 ] || exit 4'], check=True)
    assert raised.value.returncode == 4
    assert raised.value.outcomes["3"] == gproc.Returned(4)


def test_a_node_that_is_missing_is_said(cluster: gproc.Cluster) -> None:
    done = cluster.run("1,7", ["true"])
    assert (done.missing, done.returncode, done.outcomes) == ("7", 125, {"1": gproc.Returned(0)})
    with pytest.raises(gproc.JobRejected, match="not connected: 9"):
        cluster.run("9", ["true"])
    with pytest.raises(gproc.SpecError):
        cluster.run("1-", ["true"])


def test_a_program_that_is_not_there_is_an_error_before_anything_runs(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.ProgramNotFound):
        cluster.run(".", ["no-such-program"])


def test_a_time_limit_ends_the_job_and_says_what_it_had_said(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.TimeoutExpired) as raised:
        cluster.run("1,3", ["/bin/sh", "-c", "echo here; exec sleep 1000"], timeout=0.5)
    assert raised.value.result is not None
    assert raised.value.result.stdout["3"] == b"here\n"
    assert isinstance(raised.value.result.outcomes["1"], gproc.TimedOut)
    assert raised.value.result.returncode == 124


def test_events_come_as_they_happen_and_a_job_is_sent_signals(cluster: gproc.Cluster) -> None:
    ended: dict[str, gproc.Outcome] = {}
    with cluster.popen("./.", ["/bin/sh", "-c", "echo ready; exec sleep 1000"]) as job:
        waiting = {"1", "1/2", "3"}
        for event in job:
            match event:
                case gproc.Started(nodes, missing):
                    assert (set(nodes), missing) == (waiting, "")
                case gproc.Output(node, "stdout", data):
                    assert data == b"ready\n"
                    waiting.discard(node)
                    if not waiting:
                        assert (job.poll(), job.returncode) == (None, None)
                        job.terminate()
                case gproc.Exited(node, outcome):
                    ended[node] = outcome
    assert set(ended.values()) == {gproc.Signalled(signal.SIGTERM)}
    assert job.returncode == 128 + signal.SIGTERM


def test_a_jobs_input_is_written_piece_by_piece(cluster: gproc.Cluster) -> None:
    with cluster.popen("3", ["cat"], stdin=gproc.PIPE) as job:
        assert job.stdin is not None
        events = iter(job)
        assert isinstance(next(events), gproc.Started)
        for word in (b"one\n", b"two\n"):
            job.stdin.write(word)
            event = next(events)
            assert isinstance(event, gproc.Output)
            assert event.data == word
        job.stdin.close()
    assert job.returncode == 0


def test_waiting_can_be_bounded_and_the_job_goes_on(cluster: gproc.Cluster) -> None:
    with cluster.popen("3", ["sh", "-c", "echo ready; exec sleep 1000"]) as job:
        events = iter(job)
        while not isinstance(next(events), gproc.Output):
            pass
        with pytest.raises(gproc.TimeoutExpired) as raised:
            job.wait(timeout=0.1)
        assert raised.value.result is None
        job.kill()
        assert job.wait() == 137
    assert job.outcomes == {"3": gproc.Killed(signal.SIGKILL, started=True)}


def test_communicate_goes_on_after_its_time_was_up_and_loses_nothing(cluster: gproc.Cluster, tmp_path: Path) -> None:
    """As subprocess promises.  It ended with KeyError: '1'."""
    go = tmp_path / "go"
    large = bytes(3 << 20)  # more than nodes and the master keep
    script = f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; wc -c"
    job = cluster.popen("1,3", ["/bin/sh", "-c", script], stdin=gproc.PIPE)
    for data in (large, None):
        with pytest.raises(gproc.TimeoutExpired):
            job.communicate(data, timeout=0.3)
    with pytest.raises(ValueError, match="cannot send input"):
        job.communicate(b"other input")
    go.touch()
    done = job.communicate(timeout=PATIENCE_S)
    assert done.stdout == dict.fromkeys(("1", "3"), b"begun\n%d\n" % len(large))
    assert job.communicate() == done


def test_communicate_gathers_what_an_iteration_has_left(cluster: gproc.Cluster) -> None:
    job = cluster.popen("1,3", ["/bin/sh", "-c", "echo $GPROC_RANK"])
    for event in job:
        assert isinstance(event, gproc.Started)
        break
    done = job.communicate()
    assert (done.stdout, done.stderr) == ({"1": b"0\n", "3": b"1\n"}, {"1": b"", "3": b""})


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


def test_a_block_that_fails_kills_its_job(cluster: gproc.Cluster, machines: Machines) -> None:
    with pytest.raises(ZeroDivisionError), cluster.popen("./.", ["sleep", "1000"]):
        raise ZeroDivisionError
    assert machines.job_processes() == []


def test_output_that_nobody_takes_holds_back_its_own_job_alone(cluster: gproc.Cluster) -> None:
    with cluster.popen("3", ["/bin/sh", "-c", "exec yes"]) as flood:
        assert cluster.run("1", ["echo", "through"]).stdout["1"] == b"through\n"
        held = sum(len(event.data) for event in flood._events if isinstance(event, gproc.Output))
        assert held <= 1 << 20
        flood.kill()


def test_two_hundred_jobs_at_once_on_one_connection(cluster: gproc.Cluster) -> None:
    jobs = [cluster.popen("3", ["echo", str(number)]) for number in range(200)]
    done = [job.communicate() for job in jobs]
    assert [one.stdout["3"] for one in done] == [b"%d\n" % number for number in range(200)]


def test_threads_share_a_connection(cluster: gproc.Cluster) -> None:
    found: dict[int, bytes] = {}

    def work(number: int) -> None:
        for _ in range(5):
            found[number] = cluster.run("1,3", ["echo", str(number)], check=True).stdout["3"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == {number: b"%d\n" % number for number in range(8)}


def test_a_connection_that_is_closed_tells_those_who_wait(machines: Machines, cluster: gproc.Cluster) -> None:
    job = cluster.popen("3", ["sleep", "1000"])
    failed: list[gproc.GprocError] = []

    def wait() -> None:
        try:
            job.wait()
        except gproc.GprocError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    cluster.close()
    waiting.join(PATIENCE_S)
    assert [type(error) for error in failed] == [gproc.LinkLost]
    assert cluster.closed
    with pytest.raises(gproc.LinkLost):
        cluster.run("3", ["true"])


def test_no_master_is_an_error_that_names_the_socket(tmp_path: Path) -> None:
    with pytest.raises(gproc.NoMaster) as raised:
        gproc.connect(str(tmp_path / "none"))
    assert raised.value.path == str(tmp_path / "none")


def test_files_are_copied_there_and_back(cluster: gproc.Cluster, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    there = tmp_path / "there"
    there.mkdir()
    assert cluster.cp(str(tmp_path / "a"), f"1,3:{there}/").returncode == 0
    assert (there / "a").read_bytes() == b"content"
    assert cluster.get(f"=1/2,3:{there}/a", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back" / "1.2" / "a").read_bytes() == b"content"
    with pytest.raises(gproc.CopyFailed, match="No such file"):
        cluster.get(f"3:{there}/none", str(tmp_path / "back"))
    assert cluster.cp([str(tmp_path / "none")], f"3:{there}/", check=False).returncode == 1


def test_the_tree_is_told(cluster: gproc.Cluster) -> None:
    info = cluster.info()
    assert [(node.node, node.host, node.state) for node in info.nodes] == [
        (place, socket.gethostname(), "up") for place in ("1", "1/2", "3")
    ]


def test_a_bundle_is_packed_once_for_many_jobs(cluster: gproc.Cluster, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.write_text("beside")
    bundle = cluster.bundle("sh", files=[str(extra)])
    for _ in range(3):
        done = cluster.run("3", ["sh", "-c", 'cat "$GPROC_ROOT$0"', str(extra)], bundle=bundle)
        assert done.stdout["3"] == b"beside"
    assert bundle.digest == gproc.pack("sh", files=[str(extra)]).digest


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


def test_a_program_has_the_soft_limits_that_its_caller_chose(cluster: gproc.Cluster) -> None:
    limits = {resource.RLIMIT_CPU: 77, resource.RLIMIT_NOFILE: 99}
    done = cluster.run("3", "ulimit -t; ulimit -n", shell=True, text=True, rlimits=limits)
    assert done.stdout["3"] == "77\n99\n"


def test_a_job_that_has_ended_says_how_it_failed(cluster: gproc.Cluster) -> None:
    with cluster.popen("1,3", '[ "$GPROC_NODE" = 1 ] || exit 4', shell=True) as job:
        job.wait()
    assert job.summary == ("3: exit status 4",)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000, 0o027])
def test_the_umask_is_read_without_a_moment_in_which_other_threads_have_another(
    mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")
            assert current_umask() == mask
    finally:
        os.umask(before)


def test_every_public_name_is_there_and_a_slave_pays_for_none() -> None:
    assert all(hasattr(gproc, name) for name in gproc.__all__)
    assert set(gproc.__all__) == {name for names in gproc._MODULES.values() for name in names}
    program = "import sys, gproc; print(sorted(name for name in sys.modules if name.startswith('gproc')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['gproc']\n"
