"""A job finds no keys, shared memory, descriptors or memory of the slave, and leaves none behind."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gproc.launch.operations import OOM_SCORE_ADJ
from gproc.root import kernel
from tests.launch.conftest import USER, Node, Nodes, init, node, running_nodes, sanitized, tmp_path
from tests.system.cluster import Cluster

PYTHON: Final = "/usr/bin/python3"
"""Other users may not reach the interpreter of the tests."""

pytestmark = pytest.mark.skipif(not os.path.exists(PYTHON), reason=f"needs {PYTHON}")

__all__ = ["init", "node", "sanitized", "tmp_path"]

SESSION: Final = -3
"""KEY_SPEC_SESSION_KEYRING: keyctl(2)."""

READ_THE_KEY: Final = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
search, read = 10, 11
key = libc.syscall(250, search, -3, b"user", b"gproc-secret", 0)
buffer = ctypes.create_string_buffer(100)
print(buffer[:libc.syscall(250, read, key, buffer, 100)] if key > 0 else "no key")
"""

LEAVE_SHARED_MEMORY: Final = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
IPC_PRIVATE, IPC_CREAT = 0, 0o1000
ok = [libc.shmget(IPC_PRIVATE, 4321, IPC_CREAT | 0o600), libc.semget(IPC_PRIVATE, 1, IPC_CREAT | 0o600),
      libc.msgget(IPC_PRIVATE, IPC_CREAT | 0o600)]
print(all(number >= 0 for number in ok))
"""


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """They begin with the test, and have what it has, as keys."""
    with running_nodes() as nodes:
        yield nodes


@pytest.fixture
def key_of_roots() -> Iterator[None]:
    """In this process's session keyring, which the slaves that it starts inherit."""
    if os.geteuid() != 0 or os.uname().machine != "x86_64":
        pytest.skip("needs root, and the number of keyctl")
    libc = ctypes.CDLL(None, use_errno=True)
    kernel.new_session_keyring()
    if libc.syscall(248, b"user", b"gproc-secret", b"root's own", 10, SESSION) < 0:
        pytest.skip(f"needs keys: {os.strerror(ctypes.get_errno())}")
    yield
    kernel.new_session_keyring()


def test_no_job_has_the_slaves_keys(key_of_roots: None, node: Node) -> None:
    """Without the rule a job of another user read a key of root's."""
    ran = node.run(PYTHON, "-I", "-c", READ_THE_KEY)
    assert ran.output == "no key\n"
    if node.uid == 0:
        assert node.run(PYTHON, "-I", "-c", READ_THE_KEY, uid=USER).output == "no key\n"


def test_a_jobs_keys_are_its_own(key_of_roots: None, node: Node) -> None:
    """Two jobs of one user, or of two, do not meet in one keyring."""
    add = "import ctypes; print(ctypes.CDLL(None).syscall(248, b'user', b'gproc-secret', b'a job has it', 12, -3) > 0)"
    assert node.run(PYTHON, "-I", "-c", add).output == "True\n"
    assert node.run(PYTHON, "-I", "-c", READ_THE_KEY).output == "no key\n"


def system_v() -> list[str]:
    tables = [Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("shm", "sem", "msg")]
    return [line for table in tables for line in table.splitlines()[1:]]


def test_no_shared_memory_of_a_job_is_left(node: Node) -> None:
    if node.kind == "plain" and node.uid != 0:
        pytest.skip("a plain node whose slave is not root cannot: docs/security.md")
    before = {line.split()[1] for line in system_v()}
    assert node.run(PYTHON, "-I", "-c", LEAVE_SHARED_MEMORY).output == "True\n"
    assert {line.split()[1] for line in system_v()} <= before


def test_a_job_cannot_fill_the_memory_by_its_private_files(node: Node) -> None:
    if node.kind == "plain":
        pytest.skip("binRoot lies on a disk there")
    ask = f"import os; v = os.statvfs({node.bin_root!r}); print(v.f_blocks * v.f_frsize, v.f_files)"
    size_bytes, files = map(int, node.run(PYTHON, "-I", "-c", ask).output.split())
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert size_bytes <= memory_bytes / 4 + 4096
    assert files <= 1 << 18


def test_a_job_is_killed_before_its_slave_if_memory_runs_out(node: Node) -> None:
    own = int(Path(f"/proc/{node.process.pid}/oom_score_adj").read_text())
    assert node.run("/bin/cat", "/proc/self/oom_score_adj").output == f"{min(1000, max(0, own) + OOM_SCORE_ADJ)}\n"


def test_the_caller_cannot_read_the_jobs_first_process(node: Node) -> None:
    """It is not dumpable again after it has set its own score."""
    if node.kind == "plain":
        pytest.skip("its /proc shows all processes")
    done = node.run("/bin/sh", "-c", "cat /proc/1/environ >/dev/null && echo read", uid=node.uid or USER)
    assert "read\n" not in done.output


@pytest.fixture
def usual_limit() -> Iterator[int]:
    """The soft limit of files that most systems give, while master and slaves are started; the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("needs a hard limit of 4,096 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_program_has_its_callers_soft_limit_of_files_and_the_slave_the_hard_one(
    usual_limit: int, cluster: Cluster
) -> None:
    hard = usual_limit
    slave = cluster.slave(1)
    for daemon in (cluster.master, slave):
        assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)[0] == hard
    limited = cluster.begin(
        "e", "1", "/bin/sh", "-c", "ulimit -Sn",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (321, hard)),
    )  # fmt: skip
    assert cluster.finish(limited) == (0, "321\n", "")


def test_a_job_without_a_limit_of_its_own_has_the_usual_one(node: Node) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert node.run("/bin/sh", "-c", "ulimit -Sn").output == f"{min(1024, hard)}\n"


def test_very_many_connections_leave_descriptors_for_jobs(usual_limit: int, cluster: Cluster) -> None:
    """1,100 idle connections made everybody's jobs on that node fail."""
    slave = cluster.slave(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, usual_limit))
    strangers = [socket.create_connection(("127.0.0.1", slave.port)) for _ in range(1100)]
    try:
        done = cluster.exec("1", "/bin/echo", "well")
        assert (done.returncode, done.stdout) == (0, b"well\n"), done.stderr
    finally:
        for stranger in strangers:
            stranger.close()
    cluster.end(slave, signal.SIGTERM)
