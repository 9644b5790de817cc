"""A master crashes while the disk of --state is full, and that a job has ended is in no record."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.reports.test_a_full_disk_of_records_hides_no_job import fill, small_disk
from tests.system.cluster import Cluster

__all__ = ["small_disk"]


def test_a_rank_that_returned_was_called_lost_if_the_master_crashed_before_a_disk_took_the_record(
    tmp_path: Path, small_disk: Path
) -> None:
    """Its node had been told to forget it."""
    cluster = Cluster(tmp_path / "tree")
    try:
        state = f"--state={small_disk}/state"
        master = cluster.start_master(state)
        cluster.slave()
        go = cluster.place / "go"
        program = f"until [ -e {go} ]; do sleep 0.05; done; exit 5"
        number = cluster.exec("-d", "1", "/bin/sh", "-c", program).stdout.decode().strip()
        assert number in cluster.command("ps").stdout.decode()  # its record is on the disk
        fill(small_disk)
        go.touch()
        assert cluster.command("wait", number).returncode == 5
        master.says("cannot keep job records in ")
        cluster.end(master, signal.SIGKILL)
        (small_disk / "fill").unlink()
        cluster.start_master(state, port=cluster.port)
        assert cluster.command("wait", number).returncode == 5
    finally:
        cluster.stop()
