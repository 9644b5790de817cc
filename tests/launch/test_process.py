"""A program's surroundings, its end, and what is left of it."""

from __future__ import annotations

import errno
import os
import select
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gproc.disk.trees import remove_tree
from gproc.root.view import View


def processes_with(marker: str) -> list[int]:
    """Pids of this machine's processes that have `marker` among their arguments."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if marker.encode() in words:
                found.append(int(entry))
    return found


@pytest.mark.parametrize("code", [0, 1, 126, 127, 255])
def test_an_exit_code_comes_back_as_it_was(node: Any, code: int) -> None:
    assert node.run("sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE])
def test_a_signal_that_ended_the_program_comes_back(node: Any, signum: int) -> None:
    assert node.run("sh", "-c", f"kill -{int(signum)} $$").signal == signum


def test_both_outputs_arrive_whole(node: Any) -> None:
    done = node.run("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo oops >&2")
    assert done.output == "x" * 300000 + "\noops\n"


@pytest.mark.parametrize(
    ("program", "code"),
    [("/no/such", errno.ENOENT), ("/etc/passwd", errno.EACCES), ("/etc", errno.EACCES), ("no-such", errno.ENOENT)],
)
def test_a_program_that_cannot_run_fails_at_exec(node: Any, program: str, code: int) -> None:
    failure = node.run(program).failure
    assert (failure.stage, failure.errno) == ("exec", code)


def test_a_text_without_interpreter_line_is_run_by_a_shell(node: Any, tmp_path: Path) -> None:
    """As execvp(3) does it."""
    text = tmp_path / "text"
    text.write_text('echo "$0 $1"\n')
    text.chmod(0o755)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(0o755)
    assert node.run(str(text), "word").output == f"{text} word\n"


def test_a_directory_that_is_not_there_fails_at_cwd(node: Any) -> None:
    failure = node.run("true", cwd="/no/such").failure
    assert (failure.stage, failure.errno) == ("cwd", errno.ENOENT)


def test_the_program_has_three_descriptors_and_no_more(node: Any) -> None:
    script = "n=0; while [ $n -lt 300 ]; do [ -e /proc/$$/fd/$n ] && echo $n; n=$((n+1)); done"
    assert node.run("sh", "-c", script + "; true").output.split() == ["0", "1", "2"]


def test_signals_are_default_and_none_is_blocked(node: Any) -> None:
    status = dict(
        line.split(":\t", 1) for line in node.run("cat", "/proc/self/status").output.splitlines() if ":\t" in line
    )
    assert int(status["SigBlk"], 16) == 0
    # 32 and 33 are glibc's own; posix_spawn(3) cannot name them, and nobody else does.
    assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0


def test_the_environment_is_as_given(node: Any) -> None:
    env = ["A=1", "B=two words", "C=", "D=a=b", "É=ü", "PATH=/usr/bin:/bin"]
    assert sorted(node.run("env", env=env).output.encode("latin-1").decode().splitlines()) == sorted(env)


def test_argv_arrives_as_given(node: Any) -> None:
    view = node.view("/bin/sh")
    assert node.run("my own name", "-c", "echo $0; tr '\\0' '|' </proc/$$/cmdline", view=view).output == (
        "my own name\nmy own name|-c|echo $0; tr '\\0' '|' </proc/$$/cmdline|"
    )


def test_two_mebibytes_of_arguments_and_environment_arrive(node: Any) -> None:
    words = ["x" * 100_000] * 10
    env = [f"V{index}={'y' * 100_000}" for index in range(9)]
    done = node.run("sh", "-c", "echo $#; env | wc -c", "sh", *words, env=[*env, "PATH=/usr/bin:/bin"])
    counted, size = done.output.split()
    assert counted == "10"
    assert int(size) > 900_000


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_the_umask_is_the_callers(node: Any, umask: int) -> None:
    assert int(node.run("sh", "-c", "umask", umask=umask).output, 8) == umask


def test_the_program_leads_a_session_without_terminal(node: Any) -> None:
    script = "read pid comm state ppid pgrp session tty rest < /proc/self/stat; echo $session $tty $$"
    session, tty, pid = node.run("bash", "-c", f"exec 2>&1; {script.replace('/proc/self', '/proc/$$')}").output.split()
    assert session == pid
    assert tty == "0"


def test_root_runs_a_job_as_its_caller(node: Any) -> None:
    if node.uid != 0:
        pytest.skip("needs a slave that is root")
    script = "id -u; id -g; id -G; grep -c 'NoNewPrivs:.1' /proc/self/status; grep CapEff /proc/self/status"
    done = node.run("sh", "-c", script, uid=1234, gid=2345, groups=[7, 8])
    assert done.output.split() == ["1234", "2345", "2345", "7", "8", "1", "CapEff:", "0" * 16]


def test_a_slave_that_is_not_root_runs_nobody_elses_job(node: Any) -> None:
    if node.uid == 0:
        pytest.skip("needs a slave that is not root")
    failure = node.run("true", uid=node.uid - 1).failure
    assert (failure.stage, failure.errno) == ("identity", errno.EPERM)


def test_a_set_user_id_program_gains_nothing(node: Any) -> None:
    if node.uid != 0:
        pytest.skip("needs a slave that is root")
    su = Path("/usr/bin/su")
    if not su.exists() or not su.stat().st_mode & 0o4000:
        pytest.skip("needs a set-user-ID /usr/bin/su")
    shown = node.run("sh", "-c", "su --help >/dev/null; cat /proc/self/status", uid=1234, gid=1234).output
    assert "NoNewPrivs:\t1" in shown


@pytest.mark.parametrize(
    "left", ["setsid sleep {0} &", "(setsid sh -c 'setsid sleep {0} & sleep {0}' &);", "sleep {0} &"]
)
def test_nothing_outlives_the_first_process(node: Any, left: str) -> None:
    marker = f"9{os.getpid()}.25"
    # The closed outputs show that it is not the pipe that ends them.
    done = node.run("sh", "-c", f"exec 3>&1 >/dev/null 2>&1; {left.format(marker)} sleep 0.2; exit 4")
    assert done.code == 4
    assert processes_with(marker) == []


def test_killing_a_job_reaches_all_of_it(node: Any) -> None:
    marker = f"8{os.getpid()}.25"
    script = f"trap '' TERM INT; setsid sleep {marker} & echo ready; sleep {marker}"
    assert node.run("sh", "-c", script, signals=[signal.SIGKILL]).signal == signal.SIGKILL
    assert processes_with(marker) == []


def test_a_signal_reaches_every_process(node: Any) -> None:
    # SIGHUP, since a shell's background children ignore SIGINT for good.
    child = "trap 'echo child; exit' HUP; echo ready; while :; do sleep 0.05; done"
    script = f"trap 'wait; echo parent; exit 5' HUP; setsid sh -c \"{child}\" 2>&- & wait; wait; exit 6"
    done = node.run("sh", "-c", script, signals=[signal.SIGHUP])
    assert done.code == 5
    assert sorted(done.output.split()) == ["child", "parent", "ready"]


def test_ctrl_c_ends_the_program(node: Any) -> None:
    assert node.run("sh", "-c", "echo ready; exec sleep 30", signals=[signal.SIGINT]).signal == signal.SIGINT


def test_a_program_cannot_signal_itself_through_its_init(node: Any) -> None:
    script = "trap 'exit 9' USR1; kill -USR1 $PPID; sleep 0.2; exit 3"
    assert node.run("sh", "-c", script).code == 3


def test_killing_the_first_process_above_ends_the_job_without_a_trace(node: Any) -> None:
    marker = f"7{os.getpid()}.25"
    done = node.run("sh", "-c", f"setsid sleep {marker} & sleep 0.1; kill -KILL $PPID; sleep 0.2; exit 3")
    # Process 1 of a PID namespace cannot be killed from inside; a shim can.
    assert (done.code == 3) if node.kind == "private" else (done.signal == signal.SIGKILL)
    assert processes_with(marker) == []


def test_an_early_closed_output_is_seen_as_closed(node: Any) -> None:
    # The driver reads to the end of both before it looks at the outcome; `signals` is sent on the first line.
    script = "echo ready; exec >/dev/null 2>&1; exec sleep 30"
    assert node.run("sh", "-c", script, signals=[signal.SIGTERM]).signal == signal.SIGTERM


def test_fifty_jobs_at_once_do_not_mix(node: Any) -> None:
    orders = [node.order(["sh", "-c", f"echo {number}; exit {number}"]) for number in range(50)]
    assert [(done.code, done.output) for done in node.run_all(orders)] == [(n, f"{n}\n") for n in range(50)]


def test_two_hundred_jobs_leave_nothing(node: Any) -> None:
    node.run("true")
    before = _held(node)
    for _ in range(10):
        assert {done.code for done in node.run_all([node.order(["true"])] * 20)} == {0}
    assert _held(node) == before
    assert list(Path(os.fsdecode(node.bin_root)).iterdir()) == []


def _held(node: Any) -> tuple[int, ...]:
    """Descriptors of driver and launcher, and mounts at binRoot as seen from here: other tests mount elsewhere."""
    fds = [len(os.listdir(f"/proc/{pid}/fd")) for pid in (node.process.pid, *node.launcher_pids())]
    return (*fds, Path("/proc/self/mountinfo").read_bytes().count(node.bin_root))


def test_a_dead_slave_takes_its_jobs_along(own_node: Any) -> None:
    marker = f"6{os.getpid()}.25"
    own_node.send([own_node.order(["sh", "-c", f"setsid sleep {marker} & sleep {marker}"])])
    while len(found := processes_with(marker)) < 2:
        os.sched_yield()
    watched = [os.pidfd_open(pid) for pid in (*found, *own_node.launcher_pids())]
    own_node.process.kill()
    for watch in watched:
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        assert poller.poll(10_000)
        os.close(watch)
    assert processes_with(marker) == []


def test_when_the_launcher_dies_every_job_ends_and_is_told_of(own_node: Any) -> None:
    if own_node.init != "python":
        pytest.skip("has no launcher process")
    marker = f"5{os.getpid()}.25"
    own_node.send([own_node.order(["sleep", marker])] * 3)
    while len(processes_with(marker)) < 3:
        os.sched_yield()
    os.kill(own_node.launcher_pids()[0], signal.SIGKILL)
    assert {done.failure.stage for done in own_node.receive()} == {"launcher"}
    while processes_with(marker):
        os.sched_yield()


def test_a_program_cannot_look_into_the_process_that_watches_it(node: Any) -> None:
    script = "cat /proc/$PPID/environ >/dev/null 2>&1; echo $?; cat /proc/$$/environ >/dev/null; echo $?"
    done = node.run("sh", "-c", script, uid=node.uid or 1234)
    assert done.output.split() == ["1", "0"]


def test_its_working_directory_outlives_a_job_if_that_is_asked_for(own_node: Any) -> None:
    root = own_node.bin_root
    if own_node.kind == "plain":
        view = View("plain", (), b"/bin/sh", root + b"/job/there", root=root + b"/job")
    else:
        view = msgspec.structs.replace(own_node.view("/bin/sh"), cwd=root + b"/there")
    done = own_node.run("sh", "-c", "echo x > new; (sleep 99 &); exit 3", view=view, collect=["*"])
    assert (done.code, done.output) == (3, "left: new")
    left = [b"job"] if own_node.kind == "plain" else []
    assert os.listdir(root) == left
    if left:
        remove_tree(root + b"/job")
    done = own_node.run("sh", "-c", "kill -9 $$", view=view, collect=["*"])
    assert (done.signal, done.output) == (signal.SIGKILL, "left: ")
    failure = own_node.run("/no/such", view=msgspec.structs.replace(view, program=b"/no/such"), collect=["*"]).failure
    assert failure.stage == ("view" if left else "exec")
