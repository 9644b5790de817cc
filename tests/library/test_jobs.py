"""Jobs of the library while they run: events, input, waiting, and what happens when nobody waits."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

import gproc
from tests.library.machines import cluster, machines
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster as Machines

__all__ = ["cluster", "machines"]


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


def test_a_job_that_has_ended_says_how_it_failed(cluster: gproc.Cluster) -> None:
    with cluster.popen("1,3", '[ "$GPROC_NODE" = 1 ] || exit 4', shell=True) as job:
        job.wait()
    assert job.summary == ("3: exit status 4",)
