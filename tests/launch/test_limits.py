"""Bounds on a job, by rlimits: --max-procs, --mem, --cpus, --nice; and what a crash tells."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gproc.launch.protocol import Exited

STRANGER = 64_321
"""A uid that has no other processes: RLIMIT_NPROC counts all of a user's."""


def as_caller(node: Any) -> dict[str, int]:
    return {"uid": STRANGER} if node.uid == 0 else {}


def test_a_fork_bomb_is_held_at_max_procs(node: Any, tmp_path: Path) -> None:
    """Each process that could start writes a line; the bomb ends by itself when no more can."""
    # dash itself gives up when fork(2) fails.
    script = "bomb() { echo x; bomb & bomb & wait; }; bomb 2>/dev/null"
    done = node.run("sh", "-c", script, limits={"max_procs": 20}, **as_caller(node))
    assert 2 <= done.output.count("x") <= 200


def test_roots_processes_are_not_run_unbounded_against_a_bound(node: Any) -> None:
    if node.uid != 0:
        pytest.skip("needs a slave that is root")
    failure = node.run("true", limits={"max_procs": 20}).failure
    assert (failure.stage, failure.errno) == ("limits", errno.ENOTSUP)


def test_memory_is_bounded(node: Any) -> None:
    script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    # How a shell ends that gets no more memory is its own affair.
    assert node.run("sh", "-c", script, limits={"mem_bytes": 200 << 20}).outcome != Exited(0, 0, 0, False)
    assert node.run("sh", "-c", "ulimit -v", limits={"mem_bytes": 200 << 20}).output.strip() == str(200 << 10)


def test_a_memory_bound_below_what_a_start_needs_is_refused(node: Any) -> None:
    failure = node.run("true", limits={"mem_bytes": 1 << 20}).failure
    assert failure.stage == "limits"
    assert "MiB" in failure.message


def test_the_job_gets_as_many_cpus_as_said(node: Any) -> None:
    assert node.run("nproc", limits={"cpus": 1}).output.strip() == "1"
    assert node.run("nproc", limits={"cpus": 10_000}).output.strip() == str(len(os.sched_getaffinity(0)))


def test_nice_is_added(node: Any) -> None:
    assert node.run("nice", limits={"nice": 7}).output.strip() == str(os.nice(0) + 7)


def test_nobody_but_root_takes_priority_by_nice(node: Any) -> None:
    done = node.run("nice", limits={"nice": -5}, **as_caller(node))
    assert done.failure.stage == "limits"


def test_a_core_dump_is_told(node: Any, bin_root: Path) -> None:
    if not Path("/proc/sys/kernel/core_pattern").read_text().startswith("core"):
        pytest.skip("needs core dumps written to the working directory")
    view = node.view("/bin/sh", os.fsdecode(node.bin_root))
    done = node.run("sh", "-c", "ulimit -c unlimited && kill -SEGV $$", view=view)
    assert done.signal == signal.SIGSEGV
    assert done.outcome.core_dumped
