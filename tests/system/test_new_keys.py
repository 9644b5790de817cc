"""The cluster's own keys are exchanged while everything runs: with two that count at once, and then one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from gproc.trust.certfile import generation_in
from gproc.trust.identity import load_identity
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.system.test_certificates import home_of, host, key

HERE = socket.gethostname()
LEARNED = r"a certificate of the cluster's new keys is here; the present one is shown until the old keys end$"
ENDED = r"the cluster's old keys have ended: this node has generation 2$"
AGAIN = r"joined \S+ as node"


def generation_of(path: Path) -> int:
    return generation_in(path.read_bytes())


def read_a_line(job: subprocess.Popen[bytes], said: bytes) -> None:
    """The job has this line from its client, and says it back."""
    assert job.stdin is not None
    assert job.stdout is not None
    job.stdin.write(said)
    job.stdin.flush()
    assert job.stdout.readline() == said


@pytest.mark.master("--orphan-timeout=16")
def test_the_clusters_keys_are_exchanged_and_nothing_restarts(cluster: Cluster) -> None:
    """A rack master and a node below it with a job that gets input all the time; the front end's own slaves; and a node
    that is away when the old keys end, but has learned of the new ones."""
    rack = host(cluster, "kn20", 1)
    node = host(cluster, "kn1", 1, parent=rack)
    own, twin = cluster.slave(2), cluster.slave(5)  # they share a certificate
    away = host(cluster, "kn3", 3)
    home_of(cluster, "kn9")  # it was never in the tree
    script = "while read line; do echo $line; done; exit 7"
    job = cluster.begin("e", "-localbin", "=1/1", "/bin/sh", "-c", script, stdin=-1)
    read_a_line(job, b"old keys\n")

    assert "generation 2, count beside the present ones" in key(cluster, "rotate")
    for slave in (rack, node, own, twin, away):
        slave.says(LEARNED)
    assert generation_of(cluster.place / "kn1" / "next.keys") == 2
    read_a_line(job, b"two keys\n")
    assert json.loads(key(cluster, "rotate", "--json")) == {
        "generation": 2, "ready": sorted([HERE, "kn1", "kn20", "kn3"]), "missing": ["kn9"]
    }  # fmt: skip
    late = host(cluster, "kn4", 4)  # with keys that were issued meanwhile
    late.says(LEARNED)
    cluster.end(away, signal.SIGTERM)

    with pytest.raises(subprocess.CalledProcessError) as refused:
        key(cluster, "rotate", "finish")
    assert "have no certificate of the new keys yet, and could not join any more: kn9; " in refused.value.stderr
    marks = [slave.mark() for slave in (rack, node, own, twin, late)]
    assert "generation 2 is the only one" in key(cluster, "rotate", "finish", "kn9")
    cluster.master.says(r"the cluster's old keys have ended: generation 2 is the only one$")
    for slave, since in zip((rack, node, own, twin, late), marks, strict=True):
        slave.says(ENDED, since=since)
        slave.says(AGAIN, since=since)
    read_a_line(job, b"new keys\n")
    assert job.stdin is not None
    job.stdin.close()
    assert job.wait(PATIENCE_S) == 7
    assert [generation_of(cluster.place / name / "node.keys") for name in ("kn1", "kn20", "kn4")] == [2, 2, 2]
    assert not (cluster.home / "next").exists()
    assert load_identity(str(cluster.home), "node", HERE).generation == 2
    assert not list(cluster.home.glob("*.next"))

    back = cluster.slave(3, home=cluster.place / "kn3")  # it shows the old certificate first, and then the new one
    back.says(ENDED)
    lost = cluster.launch_slave("--id=9", home=cluster.place / "kn9")
    lost.says(r"cannot join: ")
    cluster.end(lost, signal.SIGTERM)
    key(cluster, "issue", "kn9", "-o", str(cluster.place / "kn9" / "node.keys"), "--address=127.0.0.1")
    cluster.slave(9, home=cluster.place / "kn9")
    done = cluster.exec("-localbin", "./.", "/bin/echo", "well")
    assert done.stdout == b"well\n" * 7, done.stderr


@pytest.mark.master("--orphan-timeout=16")
def test_keys_that_are_exchanged_while_the_master_is_away_are_told_by_the_next_one(cluster: Cluster) -> None:
    node = host(cluster, "kn1", 1)
    cluster.end(cluster.master, signal.SIGKILL)
    key(cluster, "rotate")
    cluster.start_master("--orphan-timeout=16", port=cluster.port)
    node.says(LEARNED)
    cluster.end(cluster.master, signal.SIGKILL)
    cluster.end(node, signal.SIGKILL)
    node = cluster.launch_slave("--id=1", home=cluster.place / "kn1")  # it has both certificates in files
    node.says(r"cannot join: ")
    key(cluster, "rotate", "finish")
    cluster.start_master("--orphan-timeout=16", port=cluster.port)
    node.says(ENDED)
    node.says(AGAIN, times=2)
    assert cluster.exec("-localbin", "1", "/bin/echo", "well").stdout == b"well\n"
