"""`gproc store`: what a machine's stores keep, and room made in them beside running slaves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store.neighbour import neighbours
from tests.system.as_user import command_as
from tests.system.cluster import NOBODY, Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A master and node 1."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    cluster.slave(1)
    yield cluster
    cluster.stop()


def store(cluster: Cluster, *words: str, uid: int | None = None) -> subprocess.CompletedProcess[str]:
    """`gproc store` on what node 1 keeps."""
    argv = [*command_as(uid), "store", f"--store={cluster.place}/s1/store", *words]
    return subprocess.run(argv, env=cluster.env, cwd=cluster.work, capture_output=True, text=True, check=False)


def kept(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """The rows by program."""
    return {each["program"]: each for each in json.loads(store(cluster, "--json").stdout)}


def send(cluster: Cluster, name: str, size_bytes: int = 100_000) -> Path:
    path = cluster.work / name
    path.write_bytes(b"#!/bin/sh\necho sent\nexit\n" + os.urandom(size_bytes))
    path.chmod(0o755)
    assert cluster.exec("-n", "--no-words", "1", str(path)).stdout == b"sent\n"
    return path


def test_the_table_shows_each_bundle_and_the_total(cluster: Cluster) -> None:
    path = send(cluster, "first")
    send(cluster, "second")
    done = store(cluster)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows, _, limits, total = done.stdout.splitlines()
    assert head.split() == ["STORE", "BUNDLE", "PROGRAM", "UID", "FILES", "SIZE", "LAST", "USED", "NOW"]
    assert [row.split()[2] for row in rows] == [str(cluster.work / "second"), str(path)]
    assert limits.startswith(f"{cluster.place}/s1/store: ")
    assert " files are kept, without --store-size at most " in limits
    assert total.startswith("2 bundles, ")


def test_an_empty_store_is_no_error(cluster: Cluster) -> None:
    assert store(cluster).stdout.endswith(f"0 bundles, 0B, below {cluster.place}/s1/store\n")
    assert store(cluster, "--json").stdout == "[]\n"


def test_a_directory_without_a_store_is_no_empty_store(cluster: Cluster, tmp_path: Path) -> None:
    """`gproc store --store /typo --prune 1G` said that all was well."""
    (tmp_path / "empty").mkdir()
    for place in ("empty", "typo"):
        for words in ((), ("--json",), ("--prune=0",)):
            argv = [*command_as(None), "store", f"--store={tmp_path / place}", *words]
            done = subprocess.run(argv, env=cluster.env, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (125, "")
            assert done.stderr.startswith(f"gproc: there is no store at or below {tmp_path / place}: ")


def test_programs_get_json(cluster: Cluster) -> None:
    path = str(send(cluster, "first"))
    (bundle,) = kept(cluster).values()
    assert bundle["program"] == path
    assert bundle["owner"] == os.geteuid()
    assert bundle["size_bytes"] > 100_000
    assert bundle["in_use"] is False


@pytest.mark.stress
def test_pruning_removes_the_least_recently_used_first(cluster: Cluster) -> None:
    first, second, third = (send(cluster, name, 1 << 20) for name in ("first", "second", "third"))
    assert cluster.exec("-n", "--no-words", "1", str(first)).returncode == 0
    sizes = [bundle["size_bytes"] for bundle in kept(cluster).values()]
    done = store(cluster, f"--prune={sum(sizes) - 1}")
    assert done.stdout.startswith("removed 1 of 3 bundles, ")
    assert set(kept(cluster)) == {str(first), str(third)}
    assert cluster.exec("-n", "1", str(second)).stdout == b"sent\n"


@pytest.mark.stress
def test_pruning_beside_a_running_job_leaves_what_it_uses_and_the_slave_goes_on(cluster: Cluster) -> None:
    idle = send(cluster, "idle")
    busy = cluster.write_program("busy", "echo begun; read line; /bin/cat $0 >/dev/null && echo done")
    job = cluster.begin("e", "1", busy, stdin=subprocess.PIPE)
    assert job.stdin is not None and job.stdout is not None
    assert job.stdout.readline() == b"begun\n"
    assert kept(cluster)[busy]["in_use"] is True
    assert store(cluster, "--prune=1").stdout.startswith("removed 1 of 2 bundles")
    assert set(kept(cluster)) == {busy}
    assert cluster.exec("-n", "1", str(idle)).stdout == b"sent\n"
    stdout, stderr = job.communicate(b"go on\n", timeout=30)
    assert (job.returncode, stdout, stderr) == (0, b"done\n", b"")
    assert store(cluster, "--prune=1").stdout.startswith("removed 2 of 2 bundles")
    assert kept(cluster) == {}


def test_an_incomplete_root_is_skipped(cluster: Cluster) -> None:
    send(cluster, "first")
    (root,) = (cluster.place / "s1" / "store" / "roots").iterdir()
    (root.parent / "nonsense").mkdir()
    (root.parent / f"{'ab' * 32}-0-0").mkdir()
    (root.parent / f"{'cd' * 32}-0-0").mkdir()
    (root.parent / f"{'cd' * 32}-0-0" / "manifest").write_bytes(b"half")
    assert len(kept(cluster)) == 1
    assert store(cluster, "--prune=1").returncode == 0


def test_another_users_store_is_not_shown_as_empty(cluster: Cluster) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    send(cluster, "first")
    for words in ((), ("--json",), ("--prune=1",)):
        done = store(cluster, *words, uid=NOBODY)
        assert (done.returncode, done.stdout) == (125, "")
        assert "belongs to another user" in done.stderr
    assert len(kept(cluster)) == 1


def test_a_bundle_beyond_the_size_of_the_store_runs_and_is_not_kept(cluster: Cluster) -> None:
    since = cluster.master.mark()
    cluster.joined(cluster.launch_slave("--id=2", "--store-size=1M"), cluster.master, since)
    path = cluster.work / "large"
    path.write_bytes(b"#!/bin/sh\necho sent\nexit\n" + os.urandom(2 << 20))
    path.chmod(0o755)
    done = cluster.exec("-n", "1-2", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"sent\nsent\n", b"")
    assert kept(cluster).keys() == {str(path)}
    assert os.listdir(cluster.place / "s2" / "store" / "roots") == []


def test_what_arrives_and_what_was_interrupted_is_shown(cluster: Cluster) -> None:
    place = str(cluster.place / "s1" / "store")
    with neighbours(place, 1) as (receiver,):
        receiver.ask("begin", 1, 5000)
        (row,) = kept(cluster).values()
        assert (row["state"], row["in_use"], row["size_bytes"]) == ("arriving", True, 5000)
        assert store(cluster, "--prune=0").stdout.startswith("removed 0 of 1 bundles")
    (row,) = kept(cluster).values()
    assert (row["state"], row["in_use"]) == ("interrupted", False)
    assert "interrupted" in store(cluster).stdout
    assert store(cluster, "--prune=0").stdout.startswith("removed 1 of 1 bundles")
    assert kept(cluster) == {}
