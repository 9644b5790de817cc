"""Files that a job wrote, brought back to a program: `run(..., collect=..., collect_to=...)`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import gproc
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

WRITES = ["/bin/sh", "-c", "mkdir o; head -c 3000000 /dev/zero > o/zeros; echo $GPROC_NODE > o/name; exit $GPROC_RANK"]
"""More output than a window, so that the job waits until a client takes it."""


def check_files(place: Path) -> None:
    for node in ("1", "2"):
        assert (place / node / "o" / "name").read_text() == f"{node}\n"
        assert (place / node / "o" / "zeros").stat().st_size == 3_000_000


def test_files_come_back_below_the_callers_directory_and_the_status_is_the_programs(
    cluster: gproc.Cluster, tmp_path: Path
) -> None:
    done = cluster.run("1-2", WRITES, collect="o/*", collect_to=tmp_path / "back", local_bin=True)
    assert (done.returncode, done.summary) == (1, ("2: exit status 1",))
    check_files(tmp_path / "back")


def test_files_of_a_job_whose_events_are_taken_are_there_when_its_status_is_known(
    cluster: gproc.Cluster, tmp_path: Path
) -> None:
    with cluster.popen("1-2", WRITES, collect=["o/*", "none"], collect_to=tmp_path, local_bin=True) as job:
        with pytest.raises(gproc.UsageError, match="cannot go on without it"):
            job.leave()
        assert not any(isinstance(event, gproc.Output) for event in job)
    assert job.returncode == 1
    assert "1-2: nothing to collect: the job wrote no file that matches none" in job.summary
    check_files(tmp_path)


def test_polling_alone_brings_files_too(cluster: gproc.Cluster, tmp_path: Path) -> None:
    job = cluster.popen("1", ["/bin/sh", "-c", "head -c 3000000 /dev/zero > zeros"], collect="zeros",
                        collect_to=tmp_path, local_bin=True)  # fmt: skip
    while job.poll() is None:
        pass
    assert job.returncode == 0
    assert (tmp_path / "1" / "zeros").stat().st_size == 3_000_000


def test_an_event_loop_has_the_same(nodes: Cluster, tmp_path: Path) -> None:
    async def main() -> None:
        async with gproc.connect_async(str(nodes.socket)) as cluster:
            done = await cluster.run("1-2", WRITES, collect="o/*", collect_to=tmp_path, local_bin=True)
            assert done.returncode == 1

    asyncio.run(main())
    check_files(tmp_path)


def test_a_job_that_is_given_up_leaves_no_half_of_a_file(nodes: Cluster, tmp_path: Path) -> None:
    with gproc.connect(str(nodes.socket)) as cluster:
        job = cluster.popen("1", ["/bin/sh", "-c", "head -c 9000000 /dev/zero > zeros"], collect="zeros",
                            collect_to=tmp_path, local_bin=True)  # fmt: skip
        job._engine.wait_until(lambda: bool(job._files), PATIENCE_S)
        job._bring_files()
        assert job.returncode is None
    assert [path for path in tmp_path.glob("1/*") if path.stat().st_size] == []
    nodes.nothing_runs(PATIENCE_S)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"collect": "o"}, "say both, or neither"),
        ({"collect_to": "."}, "say both, or neither"),
        ({"collect": "../o", "collect_to": "."}, "as a part"),
        ({"collect": "o", "collect_to": ".", "on_disconnect": "detach"}, "may outlive it"),
        ({"collect": "o", "collect_to": ".", "detach": True}, "may outlive it"),
    ],
)
def test_what_cannot_be_collected_is_said(cluster: gproc.Cluster, options: dict[str, Any], told: str) -> None:
    with pytest.raises(gproc.UsageError, match=told):
        cluster.popen("1", ["true"], local_bin=True, **options)
