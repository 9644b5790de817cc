"""A cluster of two levels, and `gproc web` over it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import pytest

import gproc
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

COPIED_BYTES: Final = 64 << 20


class Site(NamedTuple):
    """origin: without a slash at its end.  opening: the address with its token."""

    origin: str
    opening: str
    token: str
    process: subprocess.Popen[str]


Serve = Callable[..., Site]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("web") / "c")
    cluster.start_master()
    cluster.slave(1)
    cluster.slave(2)
    yield cluster
    cluster.stop()


@pytest.fixture
def serve(tree: Cluster) -> Iterator[Serve]:
    """serve("--control", ...): a site at any free port of loopback, or as the words say."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, stderr: IO[bytes] | None = None) -> Site:
        listen = () if "--listen" in words else ("--listen", "127.0.0.1:0")
        command = [sys.executable, "-m", "gproc", "web", "--socket", str(tree.socket), *listen, *words]
        env = {**os.environ, **tree.env}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env)
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        opening = line.removeprefix("open ")
        origin, _, token = opening.partition("/#token=")
        return Site(origin, opening, token, process)

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def stopped_copy(tree: Cluster) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`gproc cp` that was stopped when it had begun, so that its transfer stands still; and the job's number."""
    many = tree.work / "many"
    many.write_bytes(os.urandom(COPIED_BYTES))
    copying = tree.begin("cp", str(many), f"1-2:{tree.place}/there")
    try:
        with gproc.connect(str(tree.socket)) as cluster:
            while not (numbers := [job.number for job in cluster.jobs() if job.transfer is not None]):
                assert copying.poll() is None
        copying.send_signal(signal.SIGSTOP)
        yield copying, numbers[0]
    finally:
        copying.kill()
        copying.wait()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path
