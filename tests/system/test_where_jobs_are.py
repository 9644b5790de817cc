"""`gproc stacks`: where the processes of a job are, and which node is elsewhere than the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from gproc.node.user_stacks import tool_named
from tests.fidelity.conftest import keys_for
from tests.patience import PATIENCE_S
from tests.system.cluster import NOBODY, Cluster
from tests.system.detached import detached

STUCK: Final = "if [ $GPROC_NODE = 1/2 ]; then exec cat /dev/ptmx; fi; exec sleep 1000"


ENDED: Final = "has ended"


def stacks(cluster: Cluster, *words: str) -> dict[str, Any]:
    done = cluster.command("stacks", "--json", *words)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (125 if late_in(found) else 0)
    return found


def late_in(found: dict[str, Any]) -> bool:
    """Whether a node did not answer: a busy machine may need longer than the master waits."""
    return any(each["reason"] != ENDED for each in found["silent"])


def until(cluster: Cluster, words: tuple[str, ...], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask until all answer and it is so: programs begin when they do."""
    until_s = time.monotonic() + PATIENCE_S
    while late_in(found := stacks(cluster, *words)) or not is_so(found):
        assert time.monotonic() < until_s, found
    return found


def shown(cluster: Cluster, number: str, silent: str = "") -> list[str]:
    """The lines of the tree, if exactly this is said on stderr of nodes that do not show anything."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        done = cluster.command("stacks", number)
        said = [line for line in done.stderr.decode().splitlines() if "stacks of the kernel" not in line]
        if said == ([silent] if silent else []):
            return done.stdout.decode().splitlines()
        assert time.monotonic() < until_s, said


def programs_of(found: dict[str, Any]) -> set[tuple[str, ...]]:
    """The nodes at each program."""
    return {(row["frames"][0], *row["nodes"]) for row in found["stacks"]}


def test_the_one_node_that_is_elsewhere_is_named_first(deep: Cluster) -> None:
    number = detached(deep, "./././.", "/bin/sh", "-c", STUCK)
    others = ("sleep", "1", "1/1", "1/1/5", "2", "2/1")
    found = until(deep, (number,), lambda found: programs_of(found) == {("cat", "1/2"), others})
    assert found["elsewhere"] == ["1/2"] and found["silent"] == []
    text = shown(deep, number)
    assert text[0] == "elsewhere: =1/2 (1 of 6)"
    assert text[1].startswith("cat > ") and text[1].endswith("  [1 node: =1/2]")
    assert text[2].startswith("sleep > ") and "[5 nodes: " in text[2] and len(text) == 3
    assert until(deep, (number, "=1/2"), lambda found: bool(found["nodes"]))["nodes"] == ["1/2"]
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
    text = shown(flat, number)
    assert text[0] == "sh  [3 nodes, 12 threads: 1-3]" and any("[3 nodes, 9 threads: 1-3]" in line for line in text)
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
    ended = [{"reason": ENDED, "nodes": ["2"]}]
    until(flat, (number,), lambda found: found["silent"] == ended)
    assert shown(flat, number, "gproc: 2: has ended")
    go.touch()
    assert flat.command("wait", number).returncode == 0
    done = flat.command("stacks", number)
    assert (done.returncode, done.stderr.decode()) == (125, f"gproc: job {number} has ended\n")


@pytest.mark.parametrize("verb", ["stacks", "logs", "kill"])
def test_nodes_without_a_part_in_the_job_are_named(flat: Cluster, verb: str) -> None:
    number = detached(flat, "1-2", "/bin/sleep", "1000")
    done = flat.command(verb, number, "=1,=1/9,3")
    assert (done.returncode, done.stderr.decode()) == (125, f"gproc: 3,=1/9: job {number} has no part there\n")
    assert flat.command("kill", number).returncode == 0


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
        text = shown(cluster, number, "gproc: 2: cannot be reached")
        assert any("[1 node: 1]" in line for line in text)
    finally:
        second.kill(signal.SIGCONT)
    assert cluster.command("kill", "-s", "KILL", number).returncode == 0
    assert first.pid != second.pid


def traces_freely() -> bool:
    """Whether the kernel lets a user trace any own process."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return not scope.exists() or scope.read_text().strip() == "0"


def is_sleep(name: str) -> bool:
    """Whether it is the C library's function, and not the kernel's."""
    return name.replace("__GI_", "").lstrip("_").startswith(("clock_nanosleep", "nanosleep"))


@pytest.mark.skipif(tool_named("gdb") is None, reason="there is no gdb in a place that only root can change")
@pytest.mark.skipif(not traces_freely(), reason="kernel.yama.ptrace_scope forbids it")
def test_gdb_shows_the_functions_of_a_program_with_the_rights_of_its_user(flat: Cluster) -> None:
    user = {"uid": NOBODY} if os.geteuid() == 0 else {}
    number = flat.exec("-d", "1-2", "/bin/sleep", "1000", **user).stdout.decode().strip()
    until(
        flat, ("--gdb", number),
        lambda found: all(any(map(is_sleep, row["frames"])) for row in found["stacks"] or [{"frames": []}]),
    )  # fmt: skip
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
