"""The helper as a job's first process, without a launcher: its rights, its deadline, its lease, what it refuses."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.launch import helper, operations
from gproc.launch.cgroup import Group
from gproc.launch.helper import Ended, Failed, Helper
from gproc.launch.native import why_not_native
from gproc.launch.operations import Kind
from gproc.launch.protocol import Start
from gproc.request.spec import Caller, Request
from gproc.root.view import Proc, View
from tests.patience import PATIENCE_S

OWN = os.geteuid()

pytestmark = pytest.mark.skipif(bool(why_not_native()), reason="needs the static helper")


@pytest.fixture(params=["namespaces", "plain"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def running(
    kind: str, script: str, *, uid: int = OWN, deadline_ns: int = 0, lease_ns: int = 0
) -> Iterator[tuple[Helper, int]]:
    """A job of that script, and where its output is read."""
    view = View("namespaces" if kind == "namespaces" else "plain", (Proc(b"/proc"),) if kind == "namespaces" else (),
                b"/bin/sh", b"/")  # fmt: skip
    request = Request(nodes=".", argv=(b"sh", b"-c", script.encode()), env=(b"PATH=/usr/bin:/bin",))
    start = Start(1, request, Caller(uid, uid, ()), (), view)
    plan = operations.plan(start, Group(), slave_uid=OWN, deadline_ns=deadline_ns, lease_ns=lease_ns)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    begin = helper.start if kind == "plain" else helper.start_private
    started = begin(plan, (null, writer, writer))
    os.close(null)
    os.close(writer)
    if isinstance(started, Failed):
        pytest.skip(f"needs namespaces: {started.message}")
    try:
        yield started, reader
    finally:
        os.close(reader)
        started.close()
        with contextlib.suppress(ChildProcessError):  # it was waited for
            os.waitpid(started.pid, 0)


def ending(started: Helper) -> Ended | Failed | None:
    handle = os.pidfd_open(started.pid)
    try:
        assert select.select([handle], [], [], PATIENCE_S)[0], "it does not end"
    finally:
        os.close(handle)
    os.waitpid(started.pid, 0)
    return started.ending()


def boottime_ns(later_s: float) -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(later_s * 1e9)


def test_a_job_ends_at_its_deadline_whatever_its_slave_does(kind: str) -> None:
    with running(kind, "trap '' TERM HUP; sleep 1000 & sleep 1000", deadline_ns=boottime_ns(0.2)) as (started, _):
        assert ending(started) == Ended(signal.SIGKILL, 2)


def test_a_deadline_that_has_passed_ends_a_job_at_once(kind: str) -> None:
    with running(kind, "sleep 1000", deadline_ns=1) as (started, _):
        assert ending(started) == Ended(signal.SIGKILL, 2)


def test_a_lease_that_is_prolonged_lasts_and_one_that_is_not_ends_the_job(kind: str) -> None:
    with running(kind, "echo ready; sleep 1000", lease_ns=boottime_ns(1000)) as (started, reader):
        assert os.read(reader, 6) == b"ready\n"
        started.prolong(boottime_ns(2000))
        started.prolong(boottime_ns(0.1))
        assert ending(started) == Ended(signal.SIGKILL, 3)


def test_a_job_without_deadline_or_lease_ends_by_itself(kind: str) -> None:
    with running(kind, "exit 3") as (started, _):
        assert ending(started) == Ended(3 << 8, 0)


def test_a_closed_pipe_ends_the_job(kind: str) -> None:
    """It is what the kernel does for a slave that was killed."""
    with running(kind, "sleep 1000 & echo ready; sleep 1000") as (started, reader):
        assert os.read(reader, 6) == b"ready\n"
        started.abandon()
        assert ending(started) == Ended(signal.SIGKILL, 4)


def test_no_order_that_it_does_not_know_does_anything(kind: str) -> None:
    with running(kind, "trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done") as (started, reader):
        assert os.read(reader, 6) == b"ready\n"
        for order in ((99, signal.SIGKILL, 1), (1, 0, 0), (1, 65, 0)):
            started.order(*order)
        started.signal(signal.SIGUSR1)
        assert ending(started) == Ended(5 << 8, 0)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.parametrize("uid", [0, 4321])
def test_while_the_program_runs_its_first_process_has_few_rights(kind: str, uid: int) -> None:
    if OWN != 0:
        pytest.skip("needs root, whose rights are to be given up")
    chown_kill_setuid = (1 << 0, 1 << 5, 1 << 7)
    with running(kind, "echo ready; sleep 1000", uid=uid) as (started, reader):
        assert os.read(reader, 6) == b"ready\n"
        status = wait_for_fewer_rights(started.pid)
        effective = int(status["CapEff"], 16)
        assert int(status["CapPrm"], 16) == effective
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        assert not effective & chown_kill_setuid[0]
        assert not effective & chown_kill_setuid[2]
        assert not effective & (1 << 21)  # CAP_SYS_ADMIN
        if kind == "namespaces":
            assert effective == (chown_kill_setuid[1] if uid == 0 else 0)
            assert set(status["Uid"].split()) == {str(uid)}
        assert status["NoNewPrivs"] == ("0" if uid == 0 else "1")
        assert int(status["SigCgt"], 16) == 0


def wait_for_fewer_rights(pid: int) -> dict[str, str]:
    """The program may write before the call that started it has returned."""
    until_s = time.monotonic() + PATIENCE_S
    while int((status := status_of(pid))["CapEff"], 16) & (1 << 21) and time.monotonic() < until_s:
        os.sched_yield()
    return status


@pytest.mark.parametrize("uid", [0, 4321])
def test_a_program_of_roots_has_roots_rights_and_another_users_none(kind: str, uid: int) -> None:
    if OWN != 0:
        pytest.skip("needs root")
    with running(kind, "grep CapEff /proc/self/status", uid=uid) as (_, reader):
        has = int(os.read(reader, 100).split()[1], 16)
        assert has == (int(status_of(os.getpid())["CapEff"], 16) if uid == 0 else 0)


def operation(kind: int, fields: bytes) -> bytes:
    return struct.pack("<II", kind, len(fields)) + fields


def plan_of(*parts: bytes) -> bytes:
    whole = b"".join(parts)
    return b"gpi4" + struct.pack("<I", len(whole) + 8) + whole


def text(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content + b"\0"


ME = operation(Kind.USER, struct.pack("<III", OWN, OWN, 0))
CWD = operation(Kind.CWD, text(b"/"))
EXEC = operation(Kind.EXEC, struct.pack("<I", 1) + text(b"/bin/true") + struct.pack("<I", 1) + text(b"true") +
                 struct.pack("<I", 0))  # fmt: skip
PRIVATE = operation(Kind.NAMESPACES, struct.pack("<I", 0))


@pytest.mark.parametrize(
    ("plan", "stage", "words"),
    [
        (b"gpi0" + plan_of(ME, CWD, EXEC)[4:], "launcher", "another version"),
        (plan_of(ME, CWD, EXEC)[:-1], "launcher", "does not come whole"),
        (plan_of(ME, CWD, EXEC, operation(99, b"")), "launcher", "unknown kind"),
        (plan_of(ME, ME, CWD, EXEC), "launcher", "comes twice"),
        (plan_of(CWD, EXEC), "launcher", "has no user"),
        (plan_of(ME, EXEC), "launcher", "no directory to start in"),
        (plan_of(ME, CWD, EXEC + b"x"), "launcher", "ends too early"),
        (plan_of(ME, operation(Kind.CWD, text(b"/") + b"x")), "cwd", "longer than its fields"),
        (plan_of(operation(Kind.USER, struct.pack("<III", 0xFFFFFFFF, 0, 0))), "identity", "an id is none"),
        (plan_of(operation(Kind.USER, struct.pack("<IIII", 0, 0, 1, 0xFFFFFFFF))), "identity", "an id is none"),
        (plan_of(operation(Kind.USER, struct.pack("<III", 0, 0, 65537))), "identity", "too many groups"),
        (plan_of(ME, operation(Kind.CWD, text(b"here"))), "cwd", "must be absolute"),
        (plan_of(ME, operation(Kind.CWD, text(b"/a/../b"))), "cwd", "'..' is no part"),
        (plan_of(ME, operation(Kind.CWD, text(b"/a\0b"))), "cwd", "a NUL in it"),
        (plan_of(ME, operation(Kind.CWD, text(b"/" + b"a" * 4095))), "cwd", "too long"),
        (plan_of(ME, CWD, EXEC, operation(Kind.PROC, text(b"/proc"))), "launcher", "mounts are for others"),
        (plan_of(ME, PRIVATE, operation(Kind.TMPFS, text(b"/a/.."))), "view", "'..' is no part"),
        (plan_of(ME, PRIVATE, operation(Kind.OVERLAY, text(b"/a") + text(b"") * 2 + bytes(8))), "view", "of nothing"),
        (plan_of(ME, operation(Kind.LIMIT, struct.pack("<IIQ", 16, 0, 1))), "limits", "no such limit"),
        (plan_of(ME, operation(Kind.ROOT, text(b"/x") + text(b"../y") + text(b"") * 2)), "view", "one name"),
        (plan_of(ME, operation(Kind.CGROUP, struct.pack("<I", 9))), "limits", "list is too long"),
    ],
)
def test_a_plan_that_is_none_is_refused_with_its_fault(plan: bytes, stage: str, words: str) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    started = helper.start(plan, (null, null, null))
    os.close(null)
    started.abandon()
    told = ending(started)
    started.close()
    assert isinstance(told, Failed)
    assert told.stage == stage
    assert words in told.message
