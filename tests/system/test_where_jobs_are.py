"""`gproc stacks`: where the processes of a job are, and which node is elsewhere than the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from gproc.node.user_stacks import tool_named
from tests.fidelity.conftest import keys_for
from tests.patience import PATIENCE_S
from tests.system.cluster import NOBODY, Cluster
from tests.system.test_detached_jobs import detached

STUCK: Final = "if [ $GPROC_NODE = 1/2 ]; then exec cat /dev/ptmx; fi; exec sleep 1000"


def stacks(cluster: Cluster, *words: str) -> dict[str, Any]:
    done = cluster.command("stacks", "--json", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until(cluster: Cluster, words: tuple[str, ...], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask until it is so: programs begin when they do."""
    until_s = time.monotonic() + PATIENCE_S
    while not is_so(found := stacks(cluster, *words)):
        assert time.monotonic() < until_s, found
    return found


def programs_of(found: dict[str, Any]) -> set[tuple[str, ...]]:
    """The nodes at each program."""
    return {(row["frames"][0], *row["nodes"]) for row in found["stacks"]}


def test_the_one_node_that_is_elsewhere_is_named_first(deep: Cluster) -> None:
    number = detached(deep, "./././.", "/bin/sh", "-c", STUCK)
    others = ("sleep", "1", "1/1", "1/1/5", "2", "2/1")
    found = until(deep, (number,), lambda found: programs_of(found) == {("cat", "1/2"), others})
    assert found["elsewhere"] == ["1/2"] and found["silent"] == []
    text = deep.command("stacks", number).stdout.decode().splitlines()
    assert text[0] == "elsewhere: =1/2 (1 of 6)"
    assert text[1].startswith("cat > ") and text[1].endswith("  [1 node: =1/2]")
    assert text[2].startswith("sleep > ") and "[5 nodes: " in text[2] and len(text) == 3
    assert stacks(deep, number, "=1/2")["nodes"] == ["1/2"]
    assert deep.command("kill", "-s", "KILL", number).returncode == 0


def does_of(found: dict[str, Any]) -> set[tuple[str, str]]:
    """The last program and what it does, of each row."""
    return {(row["frames"][0], row["frames"][-1].split(" in ")[0]) for row in found["stacks"]}


def test_a_stopped_process_and_a_zombie_are_shown_as_such(flat: Cluster) -> None:
    zombie = "import os, signal\nif os.fork() == 0:\n    os._exit(0)\nwhile True:\n    signal.pause()"
    stopped = "kill -STOP $$"
    left = detached(flat, "1", "/usr/bin/python3", "-c", zombie)
    right = detached(flat, "2", "/bin/sh", "-c", stopped)
    found = until(flat, (left,), lambda found: len(found["stacks"]) == 2)
    assert {row["frames"][-1].split(" in ")[0] for row in found["stacks"]} == {"sleeping", "zombie"}
    until(flat, (right,), lambda found: does_of(found) == {("sh", "stopped")})
    for number in (left, right):
        assert flat.command("kill", "-s", "KILL", number).returncode == 0


def test_the_processes_of_a_job_are_shown_below_those_that_started_them_with_their_number(flat: Cluster) -> None:
    body = "sleep 1000 & sleep 1000 & sleep 1000 & wait"
    number = detached(flat, "1-3", "/bin/sh", "-c", body)
    found = until(flat, (number,), lambda found: sum(row["threads"] for row in found["stacks"]) == 12)
    threads = {row["frames"][:2][-1]: row["threads"] for row in found["stacks"] if row["frames"][1] == "sleep"}
    assert threads == {"sleep": 9} and found["elsewhere"] == []
    text = flat.command("stacks", number).stdout.decode()
    assert text.startswith("sh  [3 nodes, 12 threads: 1-3]\n") and "[3 nodes, 9 threads: 1-3]" in text
    assert flat.command("kill", "-s", "KILL", number).returncode == 0


def test_threads_of_one_process_are_rows_of_their_own_if_they_are_elsewhere(flat: Cluster) -> None:
    body = (
        "import signal, threading, time\n"
        "for _ in range(4):\n    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "while True:\n    signal.pause()"
    )
    number = detached(flat, "1", "/usr/bin/python3", "-c", body)
    until(flat, (number,), lambda found: sorted(row["threads"] for row in found["stacks"]) in ([1, 4], [5]))
    assert flat.command("kill", "-s", "KILL", number).returncode == 0


def number_of(cluster: Cluster, command: str) -> str:
    """The number of the running job of this command, as soon as there is one."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        listed = json.loads(cluster.command("ps", "--json").stdout)
        if found := [str(row["job"]) for row in listed if row["command"][0] == command]:
            return found[0]
        assert time.monotonic() < until_s


def test_tasks_of_a_list_are_shown_too(flat: Cluster) -> None:
    client = flat.begin("map", "-j", "2", "1-2", "sleep", stdin=subprocess.PIPE)
    assert client.stdin is not None
    client.stdin.write(b"1001\n1002\n1003\n1004\n")
    client.stdin.close()
    client.stdin = None
    number = number_of(flat, "sleep")
    found = until(flat, (number,), lambda found: sum(row["threads"] for row in found["stacks"]) == 4)
    assert {row["frames"][0] for row in found["stacks"]} == {"sleep"}
    assert flat.command("kill", "-s", "KILL", number).returncode == 0
    flat.finish(client)


def test_ranks_that_have_ended_are_named_and_a_job_that_has_ended_is_refused(flat: Cluster) -> None:
    go = flat.place / "gone"
    body = f"[ $GPROC_NODE = 2 ] || while [ ! -e {go} ]; do sleep 0.1; done"
    number = detached(flat, "1-3", "/bin/sh", "-c", body)
    ended = [{"reason": "has ended", "nodes": ["2"]}]
    until(flat, (number,), lambda found: found["silent"] == ended)
    done = flat.command("stacks", number)
    assert (done.returncode, done.stderr) == (0, b"gproc: 2: has ended\n")
    go.touch()
    assert flat.command("wait", number).returncode == 0
    done = flat.command("stacks", number)
    assert (done.returncode, done.stderr.decode()) == (125, f"gproc: job {number} has ended\n")


@pytest.mark.usefixtures("root_only")
def test_the_job_of_another_user_is_not_shown(flat: Cluster) -> None:
    number = detached(flat, "1", "/bin/sleep", "1000")
    done = flat.command("stacks", number, uid=NOBODY)
    assert (done.returncode, done.stderr.decode()) == (2, f"gproc: you have no job {number}\n")
    theirs = flat.exec("-d", "1", "/bin/sleep", "1000", uid=NOBODY)
    number_of_theirs = theirs.stdout.decode().strip()
    mine = until(flat, (number_of_theirs,), lambda found: bool(found["stacks"]))
    assert mine["stacks"][0]["frames"][0] == "sleep"
    for each in (number, number_of_theirs):
        assert flat.command("kill", "-s", "KILL", each).returncode == 0


def test_a_node_that_does_not_answer_is_named(cluster: Cluster) -> None:
    first, second = cluster.slaves_at_once(2)
    number = detached(cluster, "1-2", "/bin/sleep", "1000")
    until(cluster, (number,), lambda found: len(found["nodes"]) == 2)
    second.kill(signal.SIGSTOP)
    try:
        done = cluster.command("stacks", number)
        assert done.returncode == 125
        assert done.stderr.decode() in {"gproc: 2: no answer in time\n", "gproc: 2: cannot be reached\n"}
        assert "[1 node: 1]" in done.stdout.decode()
    finally:
        second.kill(signal.SIGCONT)
    assert cluster.command("kill", "-s", "KILL", number).returncode == 0
    assert first.pid != second.pid


@pytest.mark.skipif(tool_named("gdb") is None, reason="there is no gdb in a place that only root can change")
def test_gdb_shows_the_functions_of_a_program_with_the_rights_of_its_user(flat: Cluster) -> None:
    user = {"uid": NOBODY} if os.geteuid() == 0 else {}
    number = flat.exec("-d", "1-2", "/bin/sleep", "1000", **user).stdout.decode().strip()
    found = until(
        flat, ("--gdb", number),
        lambda found: any("clock_nanosleep" in name for row in found["stacks"] for name in row["frames"][1:-1]),
    )  # fmt: skip
    assert not [each for each in found["remarks"] if "gdb" in each["remark"]]
    assert flat.command("kill", "-s", "KILL", number).returncode == 0


@pytest.mark.stress
@pytest.mark.parametrize("switches", [("-p=false",), ()], ids=["plain", "own namespaces"])
def test_a_slave_without_roots_rights_shows_what_its_kernel_lets_it_see(
    cluster: Cluster, switches: tuple[str, ...]
) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    cluster.slave(1, *switches, uid=user, home=keys_for(cluster, user or os.geteuid()))
    number = cluster.exec("-d", "1", "/bin/sleep", "1000", uid=user).stdout.decode().strip()
    found = until(cluster, (number,), lambda found: {does for _, does in does_of(found)} == {"sleeping"})
    assert [each["remark"] for each in found["remarks"]] == [
        "no stacks of the kernel: it shows them to a slave of root alone"
    ]
    assert cluster.command("kill", "-s", "KILL", number).returncode == 0
