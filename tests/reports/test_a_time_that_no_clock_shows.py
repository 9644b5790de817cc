"""One file of the year 2400 in a tree, from a wrong clock or an odd archive, and nothing of the tree could be copied.

ext4 has times to 2446, XFS to 2486, and tmpfs and NFS hundreds of millions of years before and after ours.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.content.manifest import nanoseconds
from tests.system.cluster import Cluster

LAST_NS = 2**63 - 1
FIRST_NS = -(2**63)

TIMES = {"2400": 13_569_465_600, "2600": 19_880_899_200, "292 billion": 2**60, "-292 billion": -(2**60)}
"""The last three are beyond what an unsigned number of 64 bits says, in nanoseconds."""


@pytest.fixture(params=TIMES)
def odd(request: pytest.FixtureRequest, place: Path) -> Iterator[Path]:
    """A tree on a tmpfs with a file, a link and a directory of an odd time, and a file of an ordinary one."""
    tree = place / "odd"
    tree.mkdir()
    at_s = TIMES[request.param]
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tree]).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        (tree / "dir").mkdir()
        (tree / "file").write_text("x")
        (tree / "plain").write_text("y")
        (tree / "link").symlink_to("file")
        touched = [subprocess.run(["touch", "-h", "-d", f"@{at_s}", tree / name]) for name in ("file", "link", "dir")]
        if any(each.returncode != 0 for each in touched) or os.stat(tree / "file").st_mtime != at_s:
            pytest.skip("touch(1) or this kernel has no such time")
        yield tree
    finally:
        subprocess.run(["umount", tree], check=True)


@pytest.mark.usefixtures("root_only")
def test_the_tree_is_copied_and_brought_back(tree: Cluster, place: Path, odd: Path) -> None:
    done = tree.command("cp", str(odd), f"1:{place}/there")
    assert (done.returncode, done.stderr) == (0, b"")
    done = tree.command("get", f"1:{odd}", f"{place}/home")
    assert (done.returncode, done.stderr) == (0, b"")
    nearest_ns = nanoseconds(os.stat(odd / "file").st_mtime_ns)
    for copy in (place / "there", place / "home" / "1" / "odd"):
        assert sorted(path.name for path in copy.iterdir()) == ["dir", "file", "link", "plain"]
        # The file system of the copy may not have even that.
        probe = place / "probe"
        probe.touch()
        os.utime(probe, ns=(nearest_ns, nearest_ns))
        assert (copy / "file").stat().st_mtime_ns == probe.stat().st_mtime_ns


@pytest.mark.usefixtures("root_only")
def test_it_goes_along_with_a_program_and_can_be_collected(tree: Cluster, place: Path, odd: Path) -> None:
    done = tree.exec("-f", str(odd), "1", "cat", f"{odd}/file", f"{odd}/plain")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"xy", b"")
    line = f"touch -d @{int(os.stat(odd / 'file').st_mtime)} new"
    home = place / "collected"
    home.mkdir()
    done = tree.exec("--collect=new", "1", "/bin/sh", "-c", line, cwd=home)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (home / "1" / "new").exists()


def test_the_nearest_time_is_said() -> None:
    assert [nanoseconds(each) for each in (FIRST_NS - 1, FIRST_NS, 0, LAST_NS, LAST_NS + 1)] == [
        FIRST_NS, FIRST_NS, 0, LAST_NS, LAST_NS,
    ]  # fmt: skip
