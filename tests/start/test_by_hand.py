"""What is said of slaves that gproc start has not started."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.cli.by_hand import judging
from gproc.cli.start import at_places, started_at
from gproc.errors import UsageError
from gproc.start.node import NONE_RAN, Result, Stage
from gproc.start.plan import Standing
from tests.system.cluster import Cluster
from tests.system.conftest import cluster

__all__ = ["cluster"]


def test_a_slave_that_ended_while_its_host_was_asked_was_called_one_of_others(cluster: Cluster) -> None:
    """`gproc stop NODES` ended with 1, though nothing runs there."""
    slave = cluster.slave(1)
    (row,) = cluster.info()["nodes"]
    standing, none = Standing("kn1", row["host"], (1,)), Result(Stage.STOPPED, NONE_RAN)
    judged = judging(str(cluster.socket))

    async def told() -> Result:
        return await judged(standing, none)

    found = asyncio.run(told())
    assert (found.stage, "was not started by gproc start" in found.reason) == (Stage.FAILED, True)
    cluster.end(slave, signal.SIGTERM)
    assert asyncio.run(told()) == none


@contextlib.contextmanager
def deaf(path: Path) -> Iterator[str]:
    """A socket at which a connection ends at once: no master answers there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(path)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_master_that_does_not_answer_hid_what_the_user_did_wrong(tmp_path: Path) -> None:
    """It was asked for a better sentence alone."""
    with deaf(tmp_path / "g") as path:
        with pytest.raises(UsageError, match=r"gproc start has started no node at 7$"):
            at_places(str(tmp_path), "7", path)
        with pytest.raises(UsageError, match=r"gproc start has started nothing on kn7$"):
            started_at([], "kn7", path)
