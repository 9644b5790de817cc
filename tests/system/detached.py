"""Jobs that are begun with --detach, and their output."""

from __future__ import annotations

from typing import Final

from tests.system.cluster import Cluster

LINES: Final = 20_000

MANY_LINES: Final = f"i=0; while [ $i -lt {LINES} ]; do echo $GPROC_NODE-$i; i=$((i+1)); done"


def detached(cluster: Cluster, *words: str) -> str:
    """Begin a job with --detach.  Returns its number."""
    done = cluster.exec("--detach", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    return str(int(done.stdout))


def logs(cluster: Cluster, *words: str) -> str:
    done = cluster.command("logs", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()
