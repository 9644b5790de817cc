"""While the disk of --state was full, `last`, `@failed` and --retry-failed meant an older job, without a word.

And no message said that the output of a job with --spool was not kept.

The master knows the jobs of its own run: it answers from that until the disk takes their records.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)]).returncode != 0:
        pytest.skip("no mounts here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    handle = os.open(place / "fill", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    finally:
        os.close(handle)


def test_the_last_job_is_the_last_one_though_no_disk_takes_its_record(tmp_path: Path, small_disk: Path) -> None:
    cluster = Cluster(tmp_path / "tree")
    try:
        master = cluster.start_master(f"--state={small_disk}/state")
        cluster.slave()
        assert cluster.exec("1", "sh", "-c", "echo OLD; exit 3").returncode == 3
        assert cluster.command("wait", "last").returncode == 3  # its record is on the disk
        fill(small_disk)
        assert cluster.exec("1", "sh", "-c", "echo NEW; exit 4").returncode == 4
        again = cluster.exec("--retry-failed")
        assert (again.returncode, again.stdout) == (4, b"NEW\n"), again
        assert cluster.exec("--name=whole", "1", "true").returncode == 0
        assert cluster.command("wait", "last").returncode == 0
        assert cluster.command("wait", "whole").returncode == 0
        unkept = cluster.exec("--spool", "1", "echo", "kept")
        assert (unkept.returncode, unkept.stdout) == (0, b"kept\n"), unkept
        said = f"job \\d+: not all of its output is kept: {small_disk}/state/\\S+: No space left on device"
        assert re.fullmatch(f"gproc: {said}\n", unkept.stderr.decode()), unkept
        assert b"OLD" not in cluster.command("logs", "last").stdout
        assert cluster.command("ps", "-a").stdout.count(b"NEW") == 2
        master.says("cannot keep job records in .*: No space left on device; make room there, or name another place")
        (small_disk / "fill").unlink()
        master.says("job records are kept again")
        assert cluster.command("wait", "last").returncode == 0
        kept = cluster.exec("--spool", "1", "echo", "kept")
        assert (kept.stderr, cluster.command("logs", "last").stdout) == (b"", b"kept\n"), kept
    finally:
        cluster.stop()


def test_a_disk_that_does_not_answer_keeps_no_client_whose_job_is_over(tmp_path: Path) -> None:
    """`gproc e --spool` waited for it for ever, and no signal ended it."""
    cluster = Cluster(tmp_path / "tree")
    state = tmp_path / "state"
    try:
        cluster.start_master(f"--state={state}")
        cluster.slave()
        assert cluster.exec("--spool", "1", "echo", "kept").returncode == 0
        (spool,) = (path for path in state.rglob("*") if path.is_file() and path.parent.name == "1")
        stuck = spool.parent.parent / "2" / spool.name
        stuck.parent.mkdir(mode=0o700)
        os.mkfifo(stuck)  # to open it for writing waits for a reader, as for a file system that hangs
        done = cluster.exec("--spool", "1", "echo", "hi")
        assert (done.returncode, done.stdout) == (0, b"hi\n"), done
        assert b"whether all of its output is kept is not known" in done.stderr
        reader = os.open(stuck, os.O_RDONLY | os.O_NONBLOCK)
    finally:
        cluster.stop()
    os.close(reader)
