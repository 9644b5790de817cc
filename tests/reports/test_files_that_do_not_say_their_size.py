"""/proc and /sys: a file has other bytes than stat(2) says, and others each time.  It travels as it was read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

UNSIZED = [
    "/proc/version",
    "/proc/sys/kernel/ostype",
    "/proc/kallsyms",  # says 0, has megabytes
    "/sys/kernel/mm/transparent_hugepage/enabled",  # says 4,096, has a line
]
STEADY = pytest.mark.parametrize("path", [path for path in UNSIZED if os.path.exists(path)])


@STEADY
def test_cp_puts_it_on_nodes(tree: Cluster, place: Path, path: str) -> None:
    done = tree.command("cp", path, f"./.:{place}/there")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (place / "there").read_bytes() == Path(path).read_bytes()


@STEADY
def test_get_brings_it(tree: Cluster, place: Path, path: str) -> None:
    done = tree.command("get", f"1:{path}", str(place))
    assert (done.returncode, done.stderr) == (0, b"")
    assert (place / "1" / Path(path).name).read_bytes() == Path(path).read_bytes()


@STEADY
def test_e_sends_it_along(tree: Cluster, path: str) -> None:
    root = tree.slaves[0].bin_root
    done = tree.exec("-f", path, "1", "/bin/cat", f"{root}{path}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == Path(path).read_bytes()


def test_e_sends_what_is_another_each_time_it_is_read_and_never_an_old_one(tree: Cluster) -> None:
    root = tree.slaves[0].bin_root
    seen = []
    for _ in range(2):
        before = float(Path("/proc/uptime").read_text().split()[0])
        done = tree.exec("-f", "/proc/uptime", "1", "/bin/cat", f"{root}/proc/uptime")
        assert (done.returncode, done.stderr) == (0, b"")
        seen.append(float(done.stdout.split()[0]))
        assert seen[-1] >= before
    assert seen[0] < seen[1]


def test_cp_sends_what_is_another_each_time_it_is_read(tree: Cluster, place: Path) -> None:
    done = tree.command("cp", "/proc/uptime", "/proc/self/status", "/proc/interrupts", f"1:{place}/")
    assert (done.returncode, done.stderr) == (0, b"")
    assert float((place / "uptime").read_text().split()[0]) > 0
    assert (place / "status").read_text().startswith("Name:")


def test_a_directory_of_such_files_is_copied_and_what_cannot_be_read_is_named(tree: Cluster, place: Path) -> None:
    done = tree.command("cp", "/proc/sys/kernel/random", f"1:{place}/there")
    assert (place / "there" / "boot_id").read_text() == Path("/proc/sys/kernel/random/boot_id").read_text()
    assert done.returncode in (0, 1)
    assert all(b"/proc/sys/kernel/random/" in line or b"not everything" in line for line in done.stderr.splitlines())


def test_a_pipe_of_the_shell_given_as_a_file_is_told_apart_from_one_that_is_missing(tree: Cluster) -> None:
    reader, writer = os.pipe()
    try:
        done = tree.exec("-f", f"/dev/fd/{reader}", "1", "/bin/true", pass_fds=(reader,))
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode != 0
    assert f"-f /dev/fd/{reader}: is a pipe of this process; write it to a file first" in done.stderr.decode()
