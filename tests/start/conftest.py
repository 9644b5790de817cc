"""One laboratory for all tests of `gproc start`: its hosts are booted once, and no test leaves a slave on them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from gproc import native
from tests.patience import PATIENCE_S
from tests.start.lab import NETWORK, Lab, lab_or_skip

HOSTS = ("h1", "h2", "h3")


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := native.why_missing():
        pytest.skip(f"needs the static helper: {reason}")
    lab = lab_or_skip(tmp_path_factory.mktemp("lab"))
    try:
        for name in HOSTS:
            lab.add(name)
        lab.await_sshd()
        # Here, because on a busy machine it takes longer than a test waits for an answer.
        words = [sys.executable, "-m", "gproc", "runtime"]
        subprocess.run(words, env=lab.environ(), capture_output=True, check=True, timeout=4 * PATIENCE_S)
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(hosts: Lab) -> Iterator[Lab]:
    """With no master, no slave and nothing registered, before and after."""
    (hosts.gproc_home / "started.json").unlink(missing_ok=True)
    yield hosts
    hosts.run("stop")
    (hosts.gproc_home / "started.json").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def silent(hosts: Lab) -> Iterator[None]:
    """A host called `hanging`, that takes connections and says nothing."""
    script = "import socket,sys;s=socket.create_server(('',0));print(s.getsockname()[1],flush=True);sys.stdin.read()"
    process = subprocess.Popen(
        [*hosts.in_head(), sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    hosts.alias("hanging", f"{NETWORK}.254\n  Port {port}")
    yield
    process.kill()
    process.wait()
