"""A master whose socket was removed, for example by a program that tidies /tmp."""

from __future__ import annotations

import os
import stat

from tests.system.cluster import Cluster


def test_a_master_whose_socket_was_removed_is_found_again_and_its_jobs_go_on(cluster: Cluster) -> None:
    """It ran on, but neither `gproc stop` nor `gproc i` reached it."""
    cluster.slave(1)
    running = cluster.begin("e", "1", "/bin/sh", "-c", "echo here; read line; echo $line", stdin=-1)
    assert running.stdout is not None and running.stdin is not None
    assert running.stdout.readline() == b"here\n"
    mode = cluster.socket.stat().st_mode
    for times in (1, 2):
        cluster.socket.unlink()
        cluster.master.says(f"the socket {cluster.socket} was removed, and is made again", times=times)
        assert cluster.exec("1", "/bin/true").returncode == 0
        assert cluster.socket.stat().st_mode == mode
    out, _ = running.communicate(b"still here\n")
    assert (running.returncode, out) == (0, b"still here\n")


def test_a_master_takes_nobody_elses_entry_for_its_socket(cluster: Cluster) -> None:
    other = cluster.place / "other"
    other.write_text("of somebody else")
    os.rename(other, cluster.socket)
    cluster.master.says(f"{cluster.socket} is not this master's socket any more")
    assert "remove what is there, and it makes its own again, or end this master (process " in cluster.master.log
    assert cluster.socket.read_text() == "of somebody else"
    cluster.socket.unlink()
    cluster.master.says("is made again")
    assert stat.S_ISSOCK(cluster.socket.stat().st_mode)
    assert cluster.command("i").returncode == 0
