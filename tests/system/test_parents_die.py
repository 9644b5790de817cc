"""A rack master dies, freezes or comes back: programs below it run on, and all that they say arrives whole and once."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from gproc.wire.frames import CLIENT_WINDOW_BYTES
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Slave, fell

MEBIBYTES = 48

WRITES = f"""
i=0
while [ $i -lt {MEBIBYTES} ]; do
    head -c 1048576 /dev/zero | tr '\\0' "$(printf '\\%03o' $((65 + i % 26)))"
    i=$((i + 1))
done
"""
"""Each mebibyte is of another letter, so that what is lost, repeated or out of order shows."""

WRITTEN = b"".join(bytes([65 + number % 26]) * (1 << 20) for number in range(MEBIBYTES))

DEATHS = pytest.mark.parametrize(
    "signum", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM], ids=["killed", "frozen", "ended"]
)


class Rack(NamedTuple):
    """A master, a rack master 1 with two slaves, 1/1 and 1/2, and a slave 2 of the master's own."""

    cluster: Cluster
    above: Slave
    below: tuple[Slave, Slave]
    beside: Slave


pytestmark = pytest.mark.master("--orphan-timeout=25")
LEASE_ENDS = pytest.mark.master("--orphan-timeout=8")


@pytest.fixture
def rack(cluster: Cluster) -> Rack:
    above = cluster.slave(1)
    beside = cluster.slave(2)
    return Rack(cluster, above, (cluster.slave(1, parent=above), cluster.slave(2, parent=above)), beside)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begun(cluster: Cluster, nodes: str, script: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a job, and wait for its first line."""
    options = {"bufsize": 0, **options}  # what is read ahead would be lost for communicate()
    process = cluster.begin("e", "-localbin", nodes, "/bin/sh", "-c", f"echo begun; {script}", **options)
    assert read(process, 6) == b"begun\n"
    return process


def read(process: subprocess.Popen[bytes], size: int) -> bytes:
    assert process.stdout is not None
    found = b""
    while len(found) < size and (data := process.stdout.read(size - len(found))):
        found += data
    return found


@DEATHS
def test_output_below_a_rack_master_that_dies_arrives_whole_and_once(rack: Rack, signum: signal.Signals) -> None:
    cluster = rack.cluster
    process = begun(cluster, "=1/1", f"{WRITES} exit 3")
    first = read(process, 4 << 20)
    rack.above.kill(signum)
    rest, _ = process.communicate(timeout=PATIENCE_S)
    assert digest(first + rest) == digest(WRITTEN)
    assert process.returncode == 3
    for path in ("1/1", "1/2"):
        cluster.master.says(rf"{path} \(\S+\) is reached from here")
    assert {"1/1", "1/2"} <= set(cluster.states())
    assert cluster.exec("=1/1-2", "/bin/echo", "well").stdout == b"well\n" * 2
    fell(rack.cluster, rack.above, signum)


@DEATHS
def test_input_that_is_on_its_way_reaches_every_node_whole_and_once(rack: Rack, signum: signal.Signals) -> None:
    process = begun(rack.cluster, "=1/1-2,2", "sha256sum", stdin=subprocess.PIPE)
    assert process.stdin is not None
    with open(process.stdin.fileno(), "wb", closefd=False) as stdin:
        stdin.write(WRITTEN[: 8 << 20])
    rack.above.kill(signum)
    out, errors = process.communicate(WRITTEN[8 << 20 :], timeout=PATIENCE_S)
    assert out.decode() == "begun\n" * 2 + f"{digest(WRITTEN)}  -\n" * 3, errors
    assert process.returncode == 0
    fell(rack.cluster, rack.above, signum)


@DEATHS
def test_a_parent_and_a_grandparent_that_die_together_cost_nothing_below_them(
    rack: Rack, signum: signal.Signals
) -> None:
    """A frozen grandparent took a connection and never answered: that cost 2 s more than a dead one."""
    cluster, parent = rack.cluster, rack.below[0]
    lowest = cluster.slave(5, parent=parent)
    process = begun(cluster, f"={lowest.path}", WRITES)
    for slave in (rack.above, parent):
        slave.kill(signum)
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert (digest(out), errors) == (digest(WRITTEN), b"")
    assert process.returncode == 0
    for slave in (rack.above, parent):
        if signum == signal.SIGSTOP:
            lowest.says(r"cannot join: \S+ takes connections and says nothing, and \S+ answers")
            slave.kill(signal.SIGCONT)
        else:
            fell(rack.cluster, slave, signum)


@LEASE_ENDS
def test_what_ran_on_the_dead_node_itself_is_lost_with_its_lease_and_its_user_is_told_until_when(rack: Rack) -> None:
    process = begun(rack.cluster, "1/1-2", "exec sleep 1")
    rack.above.kill(signal.SIGKILL)
    status, _, errors = rack.cluster.finish(process)
    told, lost = errors.splitlines()
    assert re.fullmatch(r"gproc: 1: cannot be reached: .*closed the connection; may run until \d\d:\d\d:\d\d", told)
    assert re.fullmatch(r"gproc: 1: lost: .*closed the connection", lost)
    assert status == 125
    fell(rack.cluster, rack.above, signal.SIGKILL)


@pytest.mark.master("--orphan-timeout=4")
def test_a_job_ends_if_its_node_is_reached_again_only_after_its_lease(rack: Rack) -> None:
    """A rack master was frozen for longer than a lease: its child had ended the program; the client waited for ever."""
    process = begun(rack.cluster, "=1/1", "exec sleep 1000")
    rack.above.kill(signal.SIGSTOP)
    status, _, errors = rack.cluster.finish(process)
    assert status != 0
    assert "gproc: =1/1: " in errors
    rack.cluster.nothing_runs()
    rack.cluster.master.says(r"cannot reach 1 ")
    fell(rack.cluster, rack.above, signal.SIGSTOP)


def test_a_node_that_ends_on_purpose_is_lost_at_once(rack: Rack) -> None:
    process = begun(rack.cluster, "=1/1", "exec sleep 1000")
    rack.below[0].kill(signal.SIGTERM)
    assert rack.cluster.finish(process)[::2] == (125, "gproc: =1/1: lost: it was ended\n")
    fell(rack.cluster, rack.below[0], signal.SIGTERM)


def test_output_that_waits_when_its_node_ends_costs_no_other_node_its_job(rack: Rack, tmp_path: Path) -> None:
    """The client got the rest of it after the node's end, took that for a fault of the master, and lost all nodes."""
    cluster, flag = rack.cluster, tmp_path / "flag"
    script = f"[ $GPROC_NODE = 1/1 ] && exec yes; until [ -e {flag} ]; do sleep 0.1; done; echo well >&2"
    process = cluster.begin("e", "-n", "-localbin", "=1/1,2", "/bin/sh", "-c", script, bufsize=0)
    read(process, 4 << 20)
    since = cluster.master.mark()
    rack.below[0].kill(signal.SIGTERM)
    cluster.master.says(r"left: 1/1 ", since=since)
    read(process, CLIENT_WINDOW_BYTES // 2)  # as it is taken, more comes
    flag.touch()
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (125, b"well\ngproc: =1/1: lost: it was ended\n")
    fell(rack.cluster, rack.below[0], signal.SIGTERM)


@LEASE_ENDS
def test_a_frozen_node_runs_nothing_when_its_lease_is_over(rack: Rack) -> None:
    process = begun(rack.cluster, "2", "exec sleep 1000")
    rack.beside.kill(signal.SIGSTOP)
    assert rack.cluster.finish(process)[0] == 125
    rack.cluster.nothing_runs()
    fell(rack.cluster, rack.beside, signal.SIGSTOP)


def test_a_signal_for_a_node_that_cannot_be_reached_is_obeyed_when_it_is_back(rack: Rack) -> None:
    process = begun(rack.cluster, "2", "trap 'echo got; exit 4' USR1; while :; do sleep 0.1; done")
    since = rack.cluster.master.mark()
    rack.beside.kill(signal.SIGSTOP)
    rack.cluster.master.says(r"cannot reach 2 ", since=since)
    process.send_signal(signal.SIGUSR1)
    rack.cluster.exec("=1/1", "/bin/true")  # by then the master has the signal
    fell(rack.cluster, rack.beside, signal.SIGSTOP)
    assert rack.cluster.finish(process)[:2] == (4, "got\n")


def test_a_rack_master_that_comes_back_gets_its_children_back(rack: Rack) -> None:
    cluster = rack.cluster
    rack.above.kill(signal.SIGKILL)
    fell(rack.cluster, rack.above, signal.SIGKILL)
    cluster.master.says(r"1/2 \(\S+\) is reached from here")
    again = cluster.slave(1, port=rack.above.port)
    for path in ("1/1", "1/2"):
        cluster.master.says(rf"{path} \(\S+\) is reached by way of 1 ")
    assert again.port == rack.above.port
    assert cluster.states() == dict.fromkeys(("1", "1/1", "1/2", "2"), "up")


def test_a_copy_that_is_on_its_way_arrives_although_a_rack_master_dies(rack: Rack, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(96 << 20))
    copying = rack.cluster.begin("cp", str(source), f"=1/1-2:{tmp_path}/there")
    rack.cluster.master.says(r"job \d+: uid")
    rack.below[0].says("joined")
    threading.Event().wait(0.2)  # somewhere in the middle, or before it, or after it: it must not matter
    rack.above.kill(signal.SIGKILL)
    status, _, errors = rack.cluster.finish(copying)
    assert (status, errors) == (0, "")
    assert (tmp_path / "there").read_bytes() == source.read_bytes()
    fell(rack.cluster, rack.above, signal.SIGKILL)


def test_a_master_that_ends_tells_the_nodes_that_look_for_another_parent_just_then(rack: Rack) -> None:
    """They dialled the ended master for ever."""
    since = rack.cluster.master.mark()
    rack.above.kill(signal.SIGKILL)
    rack.cluster.master.says(r"cannot reach 1 \(\S+\) and the (2 nodes|node) below it, =1/", since=since)
    rack.cluster.master.kill(signal.SIGINT)
    for slave in (*rack.below, rack.beside):
        assert slave.wait() == 0
        rack.cluster.forget(slave)
    fell(rack.cluster, rack.above, signal.SIGKILL)
    rack.cluster.master.wait()
    rack.cluster.forget(rack.cluster.master)


@pytest.mark.stress
def test_files_on_their_way_home_arrive_although_a_rack_master_dies(rack: Rack, tmp_path: Path) -> None:
    words = "--collect", "big", "=1/1", "/bin/sh", "-c", "head -c 64M /dev/urandom | tee big | sha256sum"
    process = rack.cluster.begin("e", *words, cwd=tmp_path, bufsize=0)
    wanted = read(process, 64).decode()
    while not (tmp_path / "1.1").exists():
        assert process.poll() is None
    rack.above.kill(signal.SIGKILL)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stderr) == (0, b"")
    assert digest((tmp_path / "1.1/big").read_bytes()) == wanted
    for path in ("1/1", "1/2"):
        rack.cluster.master.says(rf"{path} \(\S+\) is reached from here")
    fell(rack.cluster, rack.above, signal.SIGKILL)
