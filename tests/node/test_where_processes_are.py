"""What a node finds out of a job's processes: from /proc, and from what py-spy and gdb print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.launch.procstat import ProcessStat
from gproc.node import processes, user_stacks
from gproc.node.looking import frames_of
from gproc.node.processes import JobSeen, ProcessSeen, ThreadSeen, is_still, seen_below

GDB = b"""\
[New LWP 12]
Thread 2 (Thread 0x7fdd7f9c76c0 (LWP 12) "worker"):
#0  0x00007fdd7fae97a5 in clock_nanosleep () from /lib/x86_64-linux-gnu/libc.so.6
#1  0x000055d0 in work (n=3, path=0x7f "a (b) c") at src/solver.c:42
#2  0x00007fdd7faa71f5 in start_thread (arg=<optimized out>) at ./nptl/pthread_create.c:442

Thread 1 (process 11 "solver"):
#0  main () at src/main.c:7
#1  0x00007f in _start ()
[Inferior 1 (process 11) detached]
"""

PY_SPY = b"""[{"pid": 1, "thread_id": 5, "thread_name": "MainThread", "os_thread_id": 1, "active": true,
"frames": [{"name": "spin", "filename": "/a/b.py", "module": null, "short_filename": "b.py", "line": 6, "locals": null},
{"name": "<module>", "filename": "/a/b.py", "short_filename": null, "line": 8, "locals": null}]}]"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended and is not reaped, and one that waits, both below this one."""
    body = "(exit 0) & echo begun; exec 3<>/dev/ptmx; read never <&3"
    with subprocess.Popen(["/bin/sh", "-c", body], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


def of(process: subprocess.Popen[bytes], seen: JobSeen) -> ProcessSeen:
    return next(each for each in seen.processes if each.pid == process.pid)


def test_a_process_is_found_below_its_parent_with_its_name_and_state(parent: subprocess.Popen[bytes]) -> None:
    seen = seen_below(os.getpid())
    found = of(parent, seen)
    assert found.above == () and found.uids == (os.geteuid(),) * 4 and found.threads[0].id == parent.pid
    assert is_still(found) and seen.left_out == 0


def test_a_process_that_has_ended_is_not_taken_for_another_of_the_same_number(
    parent: subprocess.Popen[bytes],
) -> None:
    found = of(parent, seen_below(os.getpid()))
    assert not is_still(found._replace(began=found.began - 1))
    parent.kill()
    parent.wait()
    assert not is_still(found)


def test_threads_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with 2,500 threads was shown with 2,048, and nothing said that there were more."""
    monkeypatch.setattr(processes, "THREADS_MAX", 3)
    program = (
        "import threading\nfor _ in range(7):\n threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(flush=True)\nthreading.Event().wait()"
    )
    body = '"$0" -c "$1" & wait'
    with subprocess.Popen(
        ["/bin/sh", "-c", body, sys.executable, program], stdout=subprocess.PIPE, start_new_session=True
    ) as shell:
        assert shell.stdout is not None and shell.stdout.readline() == b"\n"
        seen = seen_below(shell.pid)
        os.killpg(shell.pid, signal.SIGKILL)
    assert [len(each.threads) for each in seen.processes] == [3] and seen.left_out == 5


def test_a_list_of_all_processes_that_takes_long_leaves_time_to_look(
    parent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = processes._all_stats

    def slowly() -> dict[int, ProcessStat]:
        clock.append(1000.0)
        return listed()

    clock = [0.0]
    monkeypatch.setattr(processes, "_all_stats", slowly)
    monkeypatch.setattr(time, "monotonic", lambda: clock[-1])
    assert of(parent, seen_below(os.getpid())).threads


def test_nothing_is_found_below_a_process_that_does_not_exist() -> None:
    assert seen_below(2**22 + 1) == JobSeen([], 0)


def test_a_name_with_spaces_and_parentheses_is_one_name_and_moves_no_cursor() -> None:
    program = "import ctypes\nctypes.CDLL(None).prctl(15, b'a) R 1 (\\x1b[2J', 0, 0, 0)\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        assert of(process, seen_below(os.getpid())).name == "a) R 1 (\\x1b[2J"


def test_a_row_has_programs_then_functions_then_what_the_thread_does() -> None:
    thread = ThreadSeen(12, 3, "worker", "S", "futex_wait", ("do_futex", "futex_wait"))
    process = ProcessSeen(11, "solver", ("sh",), (0, 0, 0, 0), False, 1, (thread,))
    assert frames_of(process, thread, {12: ("main", "work")}) == (
        "sh", "solver", "thread worker", "main", "work", "do_futex", "futex_wait", "sleeping",
    )  # fmt: skip
    assert frames_of(process, thread._replace(kernel=(), name="solver"), {})[-1] == "sleeping in futex_wait"


def test_what_gdb_prints_is_read_with_and_without_its_thread_library() -> None:
    assert dict(user_stacks._native_stacks(GDB)) == {
        12: ("work (solver.c:42)", "clock_nanosleep"), 11: ("main (main.c:7)",),
    }  # fmt: skip


def test_what_py_spy_prints_is_read_and_what_is_no_json_is_nothing() -> None:
    assert dict(user_stacks._python_stacks(PY_SPY)) == {1: ("<module> (/a/b.py:8)", "spin (b.py:6)")}
    assert not list(user_stacks._python_stacks(b"Error: no"))


def test_a_tool_that_others_than_root_could_exchange_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gdb").write_text("#!/bin/sh\n")
    (tmp_path / "gdb").chmod(0o755)
    monkeypatch.setattr(user_stacks, "TOOL_DIRECTORIES", (str(tmp_path),))
    assert user_stacks.tool_named("gdb") is None  # below /tmp, where all users can write
