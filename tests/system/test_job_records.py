"""Jobs that a master knows: `gproc ps`, and records that outlive the master."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

import gproc
from tests.loop import run
from tests.system.as_user import gproc_as
from tests.system.cluster import NOBODY, Cluster


def listed(cluster: Cluster, *words: str, **options: Any) -> dict[int, dict[str, Any]]:
    done = cluster.command("ps", "--json", *words, **options)
    assert done.returncode == 0, done.stderr
    return {job["job"]: job for job in json.loads(done.stdout)}


def test_ps_shows_what_runs_and_with_a_what_has_ended(flat: Cluster) -> None:
    assert flat.exec("1-2,9", "/bin/sh", "-c", "exit 3").returncode == 125
    running = flat.begin("e", "3", "/bin/sh", "-c", "echo here; exec sleep 1000")
    assert running.stdout is not None
    assert running.stdout.readline() == b"here\n"
    try:
        [job] = listed(flat).values()
        assert (job["nodes"], job["state"], job["status"], job["ended"]) == ("3", "running", None, None)
        assert job["command"] == ["/bin/sh", "-c", "echo here; exec sleep 1000"]
        before = [each for each in listed(flat, "-a").values() if each["status"] == 125][-1]
        assert (before["nodes"], before["state"]) == ("1-2", "ended")
        assert before["started"] <= before["ended"]
        table = flat.command("ps", "-a").stdout.decode()
        assert table.splitlines()[0].split() == ["JOB", "NAME", "USER", "NODES", "STATE", "SINCE", "COMMAND"]
        assert "status 125" in table and "running" in table
        with gproc.connect(str(flat.socket)) as cluster:
            assert [each.number for each in cluster.jobs()] == [job["job"]]
            assert before["job"] in [each.number for each in cluster.jobs(ended=True)]

        async def asked() -> list[int]:
            async with gproc.connect_async(str(flat.socket)) as cluster:
                return [each.number for each in await cluster.jobs()]

        assert run(asked()) == [job["job"]]
    finally:
        running.send_signal(signal.SIGTERM)
        flat.finish(running)


@pytest.mark.usefixtures("root_only")
def test_a_user_sees_no_job_of_another_user(cluster: Cluster) -> None:
    cluster.slave(1)
    assert cluster.exec("1", "/bin/true").returncode == 0
    assert cluster.exec("1", "/bin/true", uid=NOBODY).returncode == 0
    assert len(listed(cluster, "-a")) == 2
    assert [job["uid"] for job in listed(cluster, "-a", uid=NOBODY).values()] == [NOBODY]


def test_a_master_that_comes_back_knows_the_jobs_of_before_and_goes_on_with_their_numbers(cluster: Cluster) -> None:
    cluster.slave(1)
    assert cluster.exec("1", "/bin/true").returncode == 0
    running = cluster.begin("e", "1", "/bin/sh", "-c", "echo here; exec sleep 1000")
    assert running.stdout is not None
    assert running.stdout.readline() == b"here\n"
    first, second = listed(cluster, "-a")
    cluster.master.kill(signal.SIGKILL)
    cluster.master.wait()
    cluster.finish(running)
    for slave in list(cluster.slaves):
        cluster.end(slave, signal.SIGTERM)
    cluster.forget(cluster.master)
    cluster.socket.unlink(missing_ok=True)
    cluster.start_master()
    cluster.master.says("1 jobs were lost with the last master")
    jobs = listed(cluster, "-a")
    assert (jobs[first]["state"], jobs[first]["status"]) == ("ended", 0)
    assert (jobs[second]["state"], jobs[second]["status"]) == ("lost", 125)
    cluster.slave(1)
    assert cluster.exec("1", "/bin/true").returncode == 0
    assert max(listed(cluster, "-a")) > second


@pytest.mark.master("--debug=1")
def test_records_are_in_the_directory_that_the_master_was_told(cluster: Cluster) -> None:
    other = Cluster(cluster.place / "other")
    other.start_master(f"--state={cluster.place}/state")
    assert (cluster.place / "state" / "jobs" / "jobs.db").is_file()
    other.stop()
    cluster.master.says(rf"job records in {cluster.home}/state/jobs$")


def test_a_master_without_usable_records_says_what_to_do(cluster: Cluster) -> None:
    place = cluster.place / "bad" / "jobs"
    place.mkdir(mode=0o700, parents=True)
    (place / "jobs.db").write_bytes(b"not a database at all" * 100)
    done = cluster_master(cluster, f"--state={cluster.place}/bad")
    assert done.returncode == 125
    assert f"mv {place}/jobs.db {place}/jobs.db.bad" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def cluster_master(cluster: Cluster, *switches: str) -> subprocess.CompletedProcess[str]:
    own = (f"--socket={cluster.place}/other", "-cmdport=0", f"--store={cluster.place}/o")
    argv = [*gproc_as(None), "m", *own, *switches]
    return subprocess.run(argv, env=cluster.env, cwd=cluster.work, capture_output=True, text=True)
