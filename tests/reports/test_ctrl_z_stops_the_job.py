"""Ctrl-Z at the command stops the job's programs on all nodes, and fg continues them, as with mpirun and srun."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from tests.patience import PATIENCE_S, until
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster

COUNTER = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"


@pytest.fixture(params=["native", "native, plain", "python", "python, plain"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A master and node 1, whose programs are started in one of the four ways that there are."""
    cluster = Cluster(tmp_path / "c")
    if request.param.startswith("python"):
        cluster.env["GPROC_INIT"] = "python"
    cluster.start_master()
    cluster.slave(1, *(("-p=false",) if request.param.endswith("plain") else ()))
    yield cluster
    cluster.stop()


def states(pids: list[int]) -> set[str]:
    """What /proc says of them: R or S run or wait, T is stopped."""
    found = set()
    for pid in pids:
        try:
            found.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def switches(pid: int) -> int:
    """How often it has left a processor: more often once it has gone on and was stopped again."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(map(int, re.findall(r"ctxt_switches:\s*(\d+)", status)))


def job_is_stopped(cluster: Cluster) -> bool:
    """A shell whose child was stopped between vfork(2) and exec(3) waits for it, and /proc says D."""
    found = states(cluster.job_processes())
    return "T" in found and found <= {"T", "D"}


def all_stopped(cluster: Cluster, process: subprocess.Popen[bytes]) -> None:
    until(lambda: states([process.pid]) == {"T"}, "the command stops")
    until(lambda: job_is_stopped(cluster), "the job stops")


def goes_on(cluster: Cluster, process: subprocess.Popen[bytes]) -> None:
    until(lambda: "T" not in states([process.pid, *cluster.job_processes()]), "the command and its job go on")


def counts(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def begun(cluster: Cluster, *words: str) -> subprocess.Popen[bytes]:
    process = cluster.begin("e", "-n", *words)
    for _ in range(4):
        counts(process)
    return process


def ended(cluster: Cluster, process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    until(lambda: not cluster.job_processes(), "the job ends")


def test_the_programs_stop_and_then_the_command_and_both_go_on(cluster: Cluster) -> None:
    process = begun(cluster, ".", cluster.write_program("count", COUNTER))
    for _ in range(2):
        process.send_signal(signal.SIGTSTP)
        all_stopped(cluster, process)
        process.send_signal(signal.SIGCONT)
        goes_on(cluster, process)
        for _ in range(30):
            counts(process)
    ended(cluster, process)


def test_a_program_that_catches_the_signal_may_finish_first(tree: Cluster) -> None:
    """It says so, and stops nevertheless."""
    lines = "trap 'echo caught' TSTP; trap 'echo continued' CONT; echo ready; while :; do sleep 0.05; done"
    process = tree.begin("e", "-n", "1", tree.write_program("catch", lines))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTSTP)
    all_stopped(tree, process)
    process.send_signal(signal.SIGCONT)
    assert {process.stdout.readline(), process.stdout.readline()} == {b"caught\n", b"continued\n"}
    ended(tree, process)


def test_a_stopped_job_that_is_ended_ends_at_once_and_may_clean_up(tree: Cluster) -> None:
    """kill(1) on the stopped command: the shell's `kill %1` sends SIGCONT too."""
    lines = "trap 'echo cleaned up; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    process = tree.begin("e", "-n", "1", tree.write_program("clean", lines))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTSTP)
    all_stopped(tree, process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    stdout, _ = process.communicate(timeout=PATIENCE_S)
    assert (stdout, process.returncode) == (b"cleaned up\n", 3)


@pytest.mark.parametrize("signum", ["TERM", "INT", "HUP", "QUIT"])
def test_a_program_that_has_stopped_itself_is_ended_too(tree: Cluster, signum: str) -> None:
    """A debugger, or a read from a terminal in the background: only SIGKILL ended such a job."""
    process = tree.begin("e", "-n", "1", "/bin/sh", "-c", "kill -STOP $$; sleep 1000")
    until(lambda: "T" in states(tree.job_processes()), "the program stops")
    assert tree.command("kill", "last", "-s", signum).returncode == 0
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.Signals[f"SIG{signum}"]


def test_a_stopped_command_that_is_killed_takes_its_job_along(tree: Cluster) -> None:
    process = begun(tree, ".", tree.write_program("count", COUNTER))
    process.send_signal(signal.SIGTSTP)
    all_stopped(tree, process)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    until(lambda: not tree.job_processes(), "the job ends")


def test_the_time_of_a_stopped_job_runs_out_all_the_same(tree: Cluster) -> None:
    process = begun(tree, "--timeout=1.5", "1", tree.write_program("count", COUNTER))
    process.send_signal(signal.SIGTSTP)
    until(lambda: states([process.pid]) == {"T"}, "the command stops")
    until(lambda: not tree.job_processes(), "the job ends")
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 124


def test_a_program_of_the_library_is_stopped_and_continued(tree: Cluster) -> None:
    command = ["/bin/sh", "-c", "echo up; sleep 1000"]
    with gproc.connect(str(tree.socket)) as nodes, nodes.popen(".", command, env=tree.env) as job:
        lines = (event for event in job if isinstance(event, gproc.Output))
        assert {next(lines).node for _ in range(2)} == {"1", "2"}
        assert states(tree.job_processes()) <= {"R", "S", "D"}
        job.send_signal(signal.SIGTSTP)
        until(lambda: job_is_stopped(tree), "the job stops")
        job.send_signal(signal.SIGCONT)
        until(lambda: "T" not in states(tree.job_processes()), "the job goes on")
        job.kill()
        job.wait()


class Shell:
    """A shell with job control on a terminal, as a user has it."""

    def __init__(self, tree: Cluster) -> None:
        self._ours, theirs = os.openpty()
        env = {**tree.env, "PS1": "ready> ", "TERM": "dumb"}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "/bin/bash", "--norc", "-i"],
            stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=tree.work,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""
        self.shows("ready> ")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def shows(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"nothing like {pattern!r} in {self.seen[-3000:]!r}"
            self.seen += os.read(self._ours, 4096).decode()
        self.seen = self.seen[found.end() :]
        return found

    @property
    def waits(self) -> bool:
        """Whether a command has the terminal."""
        return os.tcgetpgrp(self._ours) != self.process.pid

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def shell(tree: Cluster) -> Iterator[Shell]:
    shell = Shell(tree)
    yield shell
    shell.close()


def gproc_line(tree: Cluster, *words: str) -> str:
    return " ".join([*gproc_as(None), f"--socket={tree.socket}", *words])


def test_a_shell_shows_it_as_stopped_and_bg_and_fg_continue_it(tree: Cluster, shell: Shell) -> None:
    program = tree.write_program("count", "n=0; while :; do n=$((n+1)); echo count $n; sleep 0.1; done")
    shell.type(gproc_line(tree, "e", ".", program) + "\n")
    shell.shows(r"count 3\r")
    shell.type("\x1a")
    shell.shows(r"Stopped +")
    shell.shows("ready> ")
    until(lambda: job_is_stopped(tree), "the job stops")
    shell.type("bg\n")
    shell.shows(r"count \d+\r")
    shell.shows(r"count \d+\r")
    shell.type("fg\n")
    until(lambda: shell.waits, "the command is in the foreground")
    shell.shows(r"count \d+\r")
    shell.type("\x03")
    until(lambda: not shell.waits, "the command ends")
    until(lambda: not tree.job_processes(), "the job ends")


def test_in_a_lent_terminal_the_key_stops_the_program_there_and_a_signal_stops_the_command(
    tree: Cluster, shell: Shell
) -> None:
    shell.type(gproc_line(tree, "e", "-t", "1", "/bin/bash", "--norc", "-i") + "\n")
    shell.type("PS1='node''> '\n")
    shell.shows("node> ")
    shell.type("sleep 1000\n")
    until(lambda: any(b"sleep\x001000" in command_of(pid) for pid in tree.job_processes()), "sleep runs")
    shell.type("\x1a")
    shell.shows("Stopped +sleep 1000")
    shell.shows("node> ")
    (client,) = (pid for pid in children_of(shell.process.pid) if b"gproc" in command_of(pid))
    os.kill(client, signal.SIGTSTP)
    shell.shows(r"Stopped ")
    shell.shows("ready> ")
    shell.type("stty -a | tr ' ' '\\n' | grep -x -- '-*icanon'\n")
    shell.shows(r"\nicanon")
    before = switches(client)
    shell.type("bg\n")
    shell.shows("ready> ")
    until(lambda: states([client]) == {"T"} and switches(client) > before, "it cannot run in the background")
    shell.type("fg\n")
    until(lambda: shell.waits, "the command is in the foreground")
    until(lambda: "T" not in states([client]), "the command goes on")
    shell.type("echo still $((6*7))\n")
    shell.shows("still 42")
    shell.type("kill -9 %1; exit\n")
    shell.shows("ready> ")
    until(lambda: not tree.job_processes(), "the job ends")


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
