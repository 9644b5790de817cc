"""What slaves keep fills no disk: those of one user on one machine share a store, with one cap."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Slave


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A master that shares its store with all slaves of the tests."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master(f"--store={tmp_path}/store")
    yield cluster
    cluster.stop()


def joined(cluster: Cluster, tmp_path: Path, *ids: int) -> list[Slave]:
    since = cluster.master.mark()
    started = [cluster.launch_slave(f"--id={id}", f"--store={tmp_path}/store") for id in ids]
    return [cluster.joined(slave, cluster.master, since) for slave in started]


def program(cluster: Cluster, name: str, lines: str = "echo sent") -> str:
    path = cluster.work / name
    path.write_bytes(f"#!/bin/sh\n{lines}\nexit\n".encode() + os.urandom(1 << 20))
    path.chmod(0o755)
    return str(path)


def store(cluster: Cluster, tmp_path: Path, *words: str) -> str:
    argv = [*gproc_as(None), "store", f"--store={tmp_path}/store", *words]
    return subprocess.run(argv, env=cluster.env, cwd=cluster.work, capture_output=True, text=True, check=True).stdout


def kept(cluster: Cluster, tmp_path: Path) -> dict[str, Any]:
    return {each["program"]: each for each in json.loads(store(cluster, tmp_path, "--json"))}


def test_slaves_and_master_of_one_machine_keep_a_bundle_once(cluster: Cluster, tmp_path: Path) -> None:
    joined(cluster, tmp_path, 1, 2, 3, 4)
    path = program(cluster, "first")
    for _ in range(2):
        done = cluster.exec("-n", ".", path)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"sent\n" * 4, b"")
    rows = kept(cluster, tmp_path)
    assert rows.keys() == {path}
    assert len(os.listdir(tmp_path / "store" / "roots")) == 1


def test_jobs_at_the_same_time_on_one_store_all_end_well(cluster: Cluster, tmp_path: Path) -> None:
    joined(cluster, tmp_path, 1, 2, 3)
    paths = [program(cluster, f"p{number}") for number in range(4)]
    done: list[subprocess.CompletedProcess[bytes]] = []
    threads = [threading.Thread(target=lambda p=path: done.append(cluster.exec("-n", ".", p))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(each.returncode, each.stdout, each.stderr) for each in done] == [(0, b"sent\n" * 3, b"")] * 4
    assert kept(cluster, tmp_path).keys() == set(paths)


def test_pruning_leaves_what_a_job_of_one_slave_uses_and_another_slave_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    joined(cluster, tmp_path, 1, 2)
    busy = program(cluster, "busy", "echo begun; read line; cat $0 > /dev/null && echo done")
    job = cluster.begin("e", "1", busy, stdin=subprocess.PIPE)
    assert job.stdin is not None and job.stdout is not None
    assert job.stdout.readline() == b"begun\n"
    idle = program(cluster, "idle")
    assert cluster.exec("-n", "2", idle).stdout == b"sent\n"
    assert store(cluster, tmp_path, "--prune=0").startswith("removed ")
    assert kept(cluster, tmp_path)[busy]["in_use"] is True
    assert cluster.exec("-n", "2", idle).stdout == b"sent\n"
    stdout, stderr = job.communicate(b"go on\n", timeout=50)
    assert (job.returncode, stdout, stderr) == (0, b"done\n", b"")


@pytest.mark.stress
def test_slaves_that_come_and_go_leave_one_store(cluster: Cluster, tmp_path: Path) -> None:
    for turn in range(3):
        (slave,) = joined(cluster, tmp_path, 1)
        path = program(cluster, f"p{turn}")
        assert cluster.exec("-n", "1", path).stdout == b"sent\n"
        cluster.end(slave, signal.SIGTERM)
    assert sorted(os.listdir(tmp_path / "store")) == ["drafts", "roots", "trash"]
    assert len(kept(cluster, tmp_path)) == 3
