"""Master and slave tell a service manager how they are, and their jobs cannot: sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.readiness import ServiceManager
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster


class Manager:
    """What a service manager hears."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.settimeout(PATIENCE_S)
        self.variables = {"NOTIFY_SOCKET": address}
        self.heard: list[str] = []

    def hears(self, pattern: str) -> str:
        """Wait for a line."""
        while not (found := [line for line in self.heard if re.fullmatch(pattern, line)]):
            self.heard += self._socket.recv(4096).decode().split("\n")
        return found[-1]

    def hear_all(self) -> None:
        """Take what is there."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(4096).decode().split("\n")
        self._socket.settimeout(PATIENCE_S)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify"))
    yield found
    found.close()


@pytest.fixture
def abstract() -> Iterator[Manager]:
    """At an address that is no file."""
    found = Manager(f"@gproc-test-{os.getpid()}")
    yield found
    found.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "c")
    yield made
    made.stop()


def test_a_master_says_that_it_serves_and_that_it_ends(manager: Manager, cluster: Cluster) -> None:
    cluster.env |= manager.variables
    cluster.start_master()
    manager.hears("READY=1")
    assert manager.hears("STATUS=.*") == "STATUS=nodes: 0, jobs: 0"
    assert cluster.socket.exists()
    for name in manager.variables:
        del cluster.env[name]
    cluster.slave(1)
    manager.hears("STATUS=nodes: 1, jobs: 0")
    assert "WATCHDOG=1" not in manager.heard
    cluster.master.kill(signal.SIGTERM)
    manager.hears("STOPPING=1")


def test_a_slave_is_ready_when_it_has_joined_and_its_jobs_know_nothing_of_it(
    abstract: Manager, cluster: Cluster
) -> None:
    manager = abstract
    cluster.start_master()
    cluster.env |= manager.variables | {"WATCHDOG_USEC": "400000"}
    slave = cluster.slave(1)
    for name in (*manager.variables, "WATCHDOG_USEC"):
        del cluster.env[name]
    manager.hears("READY=1")
    manager.hears("STATUS=node 1, joined .*")
    manager.hears("WATCHDOG=1")
    for words in (("/usr/bin/env",), ("/bin/cat", "/proc/1/environ")):
        done = cluster.exec("1", *words)
        assert done.returncode == 0
        assert not re.search(b"NOTIFY_SOCKET|WATCHDOG", done.stdout)
    manager.hear_all()
    manager.heard.clear()
    cluster.master.kill(signal.SIGKILL)
    manager.hears("STATUS=not in the tree, dials .*")
    cluster.socket.unlink()
    slave.kill(signal.SIGTERM)
    manager.hears("STOPPING=1")


def test_a_manager_with_a_full_queue_hears_later_what_it_could_not_take(manager: Manager) -> None:
    told = ServiceManager.taken_from(dict(manager.variables))
    for number in range(1000):  # more than net.unix.max_dgram_qlen
        told.ready(f"number {number}")
    manager.hear_all()
    assert "STATUS=number 999" not in manager.heard
    manager.heard.clear()

    async def tell_once() -> None:
        telling = asyncio.ensure_future(told.keep_telling(lambda: "number 999"))
        await asyncio.sleep(0)
        telling.cancel()

    asyncio.run(tell_once())
    manager.hears("STATUS=number 999")
    assert "READY=1" in manager.heard


def test_an_end_waits_for_a_manager_with_a_full_queue(manager: Manager) -> None:
    told = ServiceManager.taken_from(dict(manager.variables))
    for number in range(1000):  # more than net.unix.max_dgram_qlen
        told.ready(f"number {number}")
    ending = threading.Thread(target=told.stopping)
    ending.start()
    manager.hears("STOPPING=1")
    ending.join(PATIENCE_S)
    for number in range(1000, 2000):
        told.ready(f"number {number}")
    told.stopping()  # and it is not waited for without end
    manager.heard.clear()
    manager.hear_all()
    assert "STOPPING=1" not in manager.heard


def test_a_watchdog_that_looks_at_another_process_hears_nothing(manager: Manager, cluster: Cluster) -> None:
    cluster.env |= manager.variables | {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    cluster.start_master()
    manager.hears("READY=1")
    cluster.master.kill(signal.SIGTERM)
    manager.hears("STOPPING=1")
    assert "WATCHDOG=1" not in manager.heard


def test_a_manager_that_cannot_be_reached_is_no_fault(cluster: Cluster) -> None:
    cluster.env["NOTIFY_SOCKET"] = "/nowhere/notify"
    cluster.start_master()
    for number, address in enumerate(("vsock:2:9", "relative", "@" + "x" * 200), 1):
        cluster.env["NOTIFY_SOCKET"] = address
        cluster.slave(number)
    del cluster.env["NOTIFY_SOCKET"]
    assert cluster.exec(".", "/bin/true").returncode == 0
