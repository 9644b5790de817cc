"""If a caller has closed descriptor 0, 1 or 2, no connection of gproc's own takes that number."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from gproc.wire import frames, messages
from tests.attack.target import submission
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Daemon

CLOSED: Final = [
    pytest.param(closed, marks=[pytest.mark.stress] if count == 2 else [])
    for count in (1, 2, 3)
    for closed in itertools.combinations(("<&-", ">&-", "2>&-"), count)
]

closed_descriptors = pytest.mark.parametrize("closed", CLOSED, ids=" ".join)


def without(closed: Sequence[str], argv: Sequence[str]) -> list[str]:
    """The command, started with these descriptors closed."""
    return ["/bin/sh", "-c", f'exec "$@" {" ".join(closed)}', "sh", *argv]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("closed") / "c")
    cluster.start_master()
    cluster.slave(1)
    (cluster.work / "file").write_text("content\n")
    assert cluster.exec("--spool", "--name=spooled", "1", "/bin/echo", "said").returncode == 0
    yield cluster
    cluster.stop()


def run(cluster: Cluster, closed: Sequence[str], *words: str) -> subprocess.CompletedProcess[bytes]:
    own = () if words[0] == "bundle" else (f"--socket={cluster.socket}",)
    return subprocess.run(
        without(closed, [sys.executable, "-m", "gproc", *own, *words]),
        env=cluster.env, cwd=cluster.work, input=b"", capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip


@closed_descriptors
@pytest.mark.parametrize("mode", ["e", "i", "cp", "get", "bundle", "ps", "logs"])
def test_a_command_works_without(flat: Cluster, tmp_path: Path, mode: str, closed: tuple[str, ...]) -> None:
    words: dict[str, tuple[str, ...]] = {
        "e": ("e", "1", "/bin/echo", "said"),
        "i": ("i",),
        "cp": ("cp", "file", f"1:{tmp_path}/"),
        "get": ("get", f"1:{flat.work}/file", str(tmp_path)),
        "bundle": ("bundle", "/bin/true"),
        "ps": ("ps", "-a"),
        "logs": ("logs", "spooled"),
    }
    done = run(flat, closed, *words[mode])
    assert (done.returncode, done.stderr) == (0, b"")
    if mode == "e":
        assert done.stdout == (b"" if ">&-" in closed else b"said\n")
    if mode in ("i", "bundle", "ps", "logs"):
        assert bool(done.stdout) == (">&-" not in closed)
    if mode in ("cp", "get"):
        assert [path.read_text() for path in tmp_path.rglob("file")] == ["content\n"]


@closed_descriptors
def test_a_wrong_command_is_still_one_message_and_its_status(flat: Cluster, closed: tuple[str, ...]) -> None:
    done = run(flat, closed, "e", "1-", "/bin/true")
    assert done.returncode == 2
    assert done.stderr.startswith(b"" if "2>&-" in closed else b"gproc: node specification")
    assert b"Traceback" not in done.stderr


@closed_descriptors
def test_gproc_rsh_without_them_says_what_is_wrong_too(flat: Cluster, closed: tuple[str, ...]) -> None:
    argv = without(closed, [sys.executable, "-m", "gproc.adapters.rsh.main", "-z", "host"])
    done = subprocess.run(argv, env=flat.env, cwd=flat.work, input=b"", capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 255
    assert done.stderr.startswith(b"" if "2>&-" in closed else b"gproc: -z: ssh has no such option")


@closed_descriptors
def test_a_programs_output_is_never_a_request_of_its_caller(
    flat: Cluster, tmp_path: Path, closed: tuple[str, ...]
) -> None:
    """The program prints what a client would send to run another one."""
    mark = flat.master.mark()
    taken = tmp_path / "taken"
    recorded = tmp_path / "recorded"
    request = messages.frame(submission(argv=(b"/bin/touch", os.fsencode(taken))))
    recorded.write_bytes(frames.preface(frames.CHANNEL_CLIENT) + request * 3)
    program = flat.write_program("print-it", f"cat {recorded}; cat {recorded} >&2")
    run(flat, closed, "e", "1", program)
    flat.master.says(r"job \d+: uid", since=mark)
    assert flat.exec("1", "/bin/true").returncode == 0
    flat.master.says(r"job \d+: uid \d+ on 1: /bin/true", since=mark)
    with flat.master._changed:
        jobs = [line for line in flat.master._lines[mark:] if ": uid " in line]
    assert len(jobs) == 2, jobs
    assert not taken.exists()


@closed_descriptors
def test_a_master_works_without(tmp_path: Path, closed: tuple[str, ...]) -> None:
    cluster = Cluster(tmp_path / "c")
    with socket.create_server(("127.0.0.1", 0)) as free:
        cluster.port = free.getsockname()[1]
    words = [f"-cmdport={cluster.port}", f"--socket={cluster.socket}", f"--store={cluster.place}/store-m"]
    master = Daemon(without(closed, [sys.executable, "-m", "gproc", "m", *words]), cluster.env, cluster.work)
    cluster._master = master
    # Without its keys, which the master makes, a slave does not start; without its log, the socket says that it is up.
    await_socket(cluster.socket, master)
    slave = cluster.launch_slave("--id=1")
    slave.says("this is node 1$")
    assert cluster.exec("1", "/bin/echo", "said").stdout == b"said\n"
    cluster.stop()


@closed_descriptors
def test_a_slave_works_without(tmp_path: Path, closed: tuple[str, ...]) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    place = cluster.place / "s0"
    words = [f"--parent=127.0.0.1:{cluster.port}", "--id=1", f"--store={place}", f"-binRoot={place}-root", "-cmdport=0"]
    slave = Daemon(without(closed, [sys.executable, "-m", "gproc", "s", *words]), cluster.env, cluster.work)
    cluster.master.says("arrived: 1 ")
    assert cluster.exec("1", "/bin/echo", "said").stdout == b"said\n"
    slave.kill(signal.SIGTERM)
    assert slave.wait() == 0
    assert "Traceback" not in slave.log
    cluster.stop()


def await_socket(path: Path, daemon: Daemon) -> None:
    """Return when something listens there, or the daemon is gone."""
    while daemon.process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                os.sched_yield()
            else:
                return
