"""Bounds on a job, by cgroups or rlimits: --max-procs, --mem, --cpus, --nice; and what a crash tells."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gproc.launch.cgroup import Cgroups, Group, LeftGroups
from gproc.launch.protocol import ProgramEnded
from gproc.request.limits import Limits

STRANGER = 64_321
"""A uid that has no other processes: RLIMIT_NPROC counts all of a user's."""


def as_caller(node: Any) -> dict[str, int]:
    return {"uid": STRANGER} if node.uid == 0 else {}


def groups_of(node: Any) -> Group:
    """Which of the bounds a group would hold on this node; the group itself is gone again."""
    if node.uid != 0:
        return Group()
    group = Cgroups.here().make(Limits(max_procs=100, mem_bytes=1 << 30))
    group.remove()
    return group


@pytest.fixture
def apart() -> Iterator[tuple[Path, Cgroups]]:
    """A new group, and the hierarchies as a process in it finds them: no other test's groups are there."""
    directories = Cgroups.here().make(Limits(max_procs=5)).directories if os.geteuid() == 0 else ()
    if not directories:
        pytest.skip("needs a cgroup hierarchy that root may write to")
    made = Path(os.fsdecode(directories[0]))
    made.rmdir()
    place = made.with_name(f"test-of-{made.name}")
    place.mkdir()
    is_unified = (place / "cgroup.subtree_control").exists()
    if is_unified:
        (place / "cgroup.subtree_control").write_text("+pids")
    kind, options = ("cgroup2", "rw") if is_unified else ("cgroup", "rw,pids")
    line = f"35 26 0:27 / {place} rw shared:9 - {kind} {kind} {options}\n"
    yield place, Cgroups(line.encode(), b"0::/\n8:pids:/\n")
    place.rmdir()


def unified(top: Path, own: str, *, switched_on: dict[str, str], root: str = "/") -> Cgroups:
    """A hierarchy of version 2 with its files, but no kernel behind them."""
    for directory, controllers in switched_on.items():
        (top / directory).mkdir(parents=True, exist_ok=True)
        (top / directory / "cgroup.subtree_control").write_text(controllers + "\n")
    line = f"35 26 0:27 {root} {top} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    return Cgroups(line.encode(), f"0::{own}\n".encode())


def test_a_group_is_made_below_a_slave_that_is_at_the_root(tmp_path: Path) -> None:
    cgroups = unified(tmp_path, "/", switched_on={"": "cpu memory pids"})
    with pytest.raises(FileNotFoundError, match=r"gproc-\w+/pids.max"):
        # Only the kernel puts files into a new group.
        cgroups.make(Limits(max_procs=5))
    assert [entry.name for entry in tmp_path.iterdir()] == ["cgroup.subtree_control"]


def test_a_group_is_made_beside_a_slave_that_systemd_started(tmp_path: Path) -> None:
    cgroups = unified(tmp_path, "/a.slice/b.service", switched_on={"a.slice": "memory pids", "a.slice/b.service": ""})
    with pytest.raises(FileNotFoundError, match=r"/a.slice/gproc-\w+/memory.max|/memory.limit_in_bytes"):
        cgroups.make(Limits(mem_bytes=1 << 30))


def test_in_a_container_the_slaves_group_is_the_root(tmp_path: Path) -> None:
    cgroups = unified(tmp_path, "/docker/x", switched_on={"": "pids"}, root="/docker/x")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/gproc-\w+/pids.max"):
        cgroups.make(Limits(max_procs=5))


def test_a_controller_that_is_not_switched_on_makes_no_group_and_says_so(tmp_path: Path) -> None:
    cgroups = unified(tmp_path, "/a/b", switched_on={"a": "cpu", "a/b": ""})
    group = cgroups.make(Limits(max_procs=5, mem_bytes=1 << 30))
    assert (group.directories, group.processes, group.memory) == ((), False, False)
    assert group.unbounded_because == (
        f"groups with the controller pids cannot be made in {tmp_path}/a/b or {tmp_path}/a"
    )


def test_without_any_hierarchy_there_is_no_group() -> None:
    group = Cgroups(b"", b"").make(Limits(max_procs=5))
    assert group.directories == ()
    assert "is mounted" in group.unbounded_because


def test_a_fork_bomb_is_held_at_max_procs(node: Any, tmp_path: Path) -> None:
    """Each process that could start writes a line; the bomb ends by itself when no more can."""
    # dash itself gives up when fork(2) fails.
    script = "bomb() { echo x; bomb & bomb & wait; }; bomb 2>/dev/null"
    done = node.run("sh", "-c", script, limits={"max_procs": 20}, **as_caller(node))
    assert 2 <= done.output.count("x") <= 200


def test_roots_processes_are_bounded_or_not_run_at_all(node: Any) -> None:
    if node.uid != 0:
        pytest.skip("needs a slave that is root")
    script = "bomb() { echo x; bomb & bomb & wait; }; bomb 2>/dev/null"
    done = node.run("sh", "-c", script, limits={"max_procs": 20})
    if groups_of(node).processes:
        assert 2 <= done.output.count("x") <= 200
    else:
        assert (done.failure.stage, done.failure.errno) == ("limits", errno.ENOTSUP)
        assert "can only be bounded by a cgroup" in done.failure.message


def test_a_bound_counts_the_processes_of_this_job_alone(node: Any) -> None:
    if not groups_of(node).processes:
        pytest.skip("needs a cgroup hierarchy with the controller pids that the launcher may write to")
    script = "sleep 0.3 & sleep 0.3 & wait; echo fine"
    done = node.run_all([node.order(["sh", "-c", script], limits={"max_procs": 3})] * 10)
    assert [each.output for each in done] == ["fine\n"] * 10
    stopped = node.run("sh", "-c", "sleep 0.3 & sleep 0.3 & sleep 0.3 & wait; echo fine", limits={"max_procs": 3})
    assert "fine" not in stopped.output


def test_no_group_is_left(node: Any) -> None:
    group = groups_of(node)
    if not group.directories:
        pytest.skip("needs a cgroup hierarchy that the launcher may write to")
    node.run_all([node.order(["sh", "-c", "setsid sleep 100 & :"], limits={"max_procs": 9, "mem_bytes": 1 << 28})] * 5)
    for directory in group.directories:
        assert not [name for name in os.listdir(os.path.dirname(directory)) if name.startswith(b"gproc-")]


def test_groups_that_a_job_of_root_makes_in_its_own_go_with_it(node: Any) -> None:
    """A container engine does so.  The job's group then stayed for ever."""
    group = groups_of(node)
    if not group.directories:
        pytest.skip("needs a cgroup hierarchy that the launcher may write to")
    script = """name=$(sed -n 's,.*/\\(gproc-[0-9a-f]*\\)$,\\1,p' /proc/self/cgroup | head -n 1)
    for own in $(find /sys/fs/cgroup -type d -name "$name"); do mkdir -p "$own/a/b" "$own/c" && echo made; done"""
    done = node.run("sh", "-c", script, limits={"max_procs": 20, "mem_bytes": 1 << 28})
    assert done.output == "made\n" * len(group.directories)
    for directory in group.directories:
        assert not [name for name in os.listdir(os.path.dirname(directory)) if name.startswith(b"gproc-")]


def test_groups_that_a_killed_slave_has_left_go_with_the_next_job(apart: tuple[Path, Cgroups]) -> None:
    """Nobody else removed them: a node whose slave is killed now and then filled with them.  One in use stays."""
    place, cgroups = apart

    def left(name: str, ago_s: float) -> Path:
        path = place / name
        (path / "sub").mkdir(parents=True)
        then_s = time.time() - ago_s
        os.utime(path, (then_s, then_s))
        return path

    names = ("gproc-" + "a" * 16, "gproc-" + "b" * 16, "gproc-" + "c" * 16, "gproc-of-a-person")
    left_ones = [left(name, ago_s) for name, ago_s in zip(names, (1000, 0, 1000, 1000), strict=True)]
    old, young, used, foreign = left_ones
    sleeper = subprocess.Popen(["sleep", "1000"])
    (used / "sub" / "cgroup.procs").write_text(f"{sleeper.pid}")
    try:
        cgroups.make(Limits(max_procs=5), LeftGroups()).remove()
        assert [path.exists() for path in (old, young, used, foreign)] == [False, True, True, True]
    finally:
        sleeper.kill()
        sleeper.wait()
        for path in (young, used, foreign):
            (path / "sub").rmdir()
            path.rmdir()


def test_each_job_looked_at_all_groups_of_the_node(apart: tuple[Path, Cgroups]) -> None:
    """It is meant to be done once a minute: with 500 jobs it read 500 groups 500 times."""
    place, cgroups = apart
    left, group = LeftGroups(), place / ("gproc-" + "d" * 16)
    cgroups.make(Limits(max_procs=5), left).remove()
    group.mkdir()
    os.utime(group, (1, 1))
    try:
        cgroups.make(Limits(max_procs=5), left).remove()
        assert group.exists()
        cgroups.make(Limits(max_procs=5), LeftGroups()).remove()
        assert not group.exists()
    finally:
        if group.exists():
            group.rmdir()


def test_memory_is_bounded(node: Any) -> None:
    script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    done = node.run("sh", "-c", script, limits={"mem_bytes": 50 << 20})
    if groups_of(node).memory:
        assert done.signal == signal.SIGKILL
    else:
        # How a shell ends that gets no more address space is its own affair.
        assert done.outcome != ProgramEnded(0, 0, 0, False)
        assert node.run("sh", "-c", "ulimit -v", limits={"mem_bytes": 200 << 20}).output.strip() == str(200 << 10)


def test_a_memory_bound_below_what_a_start_needs_is_refused(node: Any) -> None:
    failure = node.run("true", limits={"mem_bytes": 1 << 20}).failure
    assert failure.stage == "limits"
    assert "MiB" in failure.message


def test_the_least_memory_of_a_group_is_enough_to_start(node: Any) -> None:
    if not groups_of(node).memory:
        pytest.skip("needs a cgroup hierarchy with the controller memory that the launcher may write to")
    assert node.run("true", limits={"mem_bytes": 4 << 20}).code == 0


def test_the_job_gets_as_many_cpus_as_said(node: Any) -> None:
    assert node.run("nproc", limits={"cpus": 1}).output.strip() == "1"
    assert node.run("nproc", limits={"cpus": 10_000}).output.strip() == str(len(os.sched_getaffinity(0)))


def test_nice_is_added(node: Any) -> None:
    assert node.run("nice", limits={"nice": 7}).output.strip() == str(os.nice(0) + 7)


def test_nobody_but_root_takes_priority_by_nice(node: Any) -> None:
    done = node.run("nice", limits={"nice": -5}, **as_caller(node))
    assert done.failure.stage == "limits"


def test_a_core_dump_is_told(own_node: Any) -> None:
    if not Path("/proc/sys/kernel/core_pattern").read_text().startswith("core"):
        pytest.skip("needs core dumps written to the working directory")
    view = own_node.view("/bin/sh", os.fsdecode(own_node.bin_root))
    done = own_node.run("sh", "-c", "ulimit -c unlimited && kill -SEGV $$", view=view)
    assert done.signal == signal.SIGSEGV
    assert done.outcome.core_dumped
