"""A disk that was mounted on a node within a minute of a copy was not there for the next one: it went below the disk.

The status was 0, and nobody saw the files again before the disk was unmounted.  It was so if the node's mounts are
private, as with busybox's init and in containers: the process that does copies had mounts of its own, as old as itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import NOBODY, Cluster

pytestmark = pytest.mark.usefixtures("root_only")


class Disk:
    """A directory whose mounts are private, and in it a place for a disk of 4 MiB."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.at = base / "disk"
        self.at.mkdir()
        self.at.chmod(0o777)

    def mount(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", self.at], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.at], check=True)


@pytest.fixture
def disk(place: Path) -> Iterator[Disk]:
    base = place / "private"
    base.mkdir()
    if subprocess.run(["mount", "--bind", base, base]).returncode != 0:
        pytest.skip("this machine lets root mount nothing")
    try:
        subprocess.run(["mount", "--make-private", base], check=True)
        base.chmod(0o755)
        yield Disk(base)
    finally:
        subprocess.run(["umount", "--recursive", base], check=True)


@pytest.fixture(params=["", "python"], ids=["helper", "python"])
def node(request: pytest.FixtureRequest, tmp_path: Path, disk: Disk) -> Iterator[Cluster]:
    """A node that began before the disk is there.  python: of which Python starts all jobs."""
    cluster = Cluster(tmp_path / "tree")
    cluster.env["GPROC_INIT"] = request.param
    cluster.start_master()
    cluster.slave()
    yield cluster
    cluster.stop()


def test_a_copy_goes_to_the_disk(node: Cluster, place: Path, disk: Disk) -> None:
    (place / "file").write_text("x")
    assert node.command("cp", f"{place}/file", f"1:{place}/before").returncode == 0
    disk.mount()
    assert node.command("cp", f"{place}/file", f"1:{disk.at}/").returncode == 0
    assert (disk.at / "file").read_text() == "x"
    disk.unmount()
    assert not list(disk.at.iterdir())


def test_get_brings_what_is_on_the_disk(node: Cluster, place: Path, disk: Disk) -> None:
    (place / "file").write_text("x")
    assert node.command("get", f"1:{place}/file", f"{place}/home").returncode == 0
    disk.mount()
    (disk.at / "new").write_text("new")
    done = node.command("get", f"1:{disk.at}/new", f"{place}/home")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (place / "home" / "1" / "new").read_text() == "new"


def test_a_full_disk_is_told(node: Cluster, place: Path, disk: Disk) -> None:
    (place / "large").write_bytes(bytes(range(256)) * 32768)
    assert node.command("get", f"1:{place}/large", f"{place}/home").returncode == 0
    disk.mount()
    done = node.command("cp", f"{place}/large", f"1:{disk.at}/")
    assert (done.returncode, done.stderr.decode().splitlines()[:1]) == (
        1, [f"gproc: 1: {disk.at}/large: No space left on device"],
    )  # fmt: skip


def test_a_job_sees_the_disk_and_lets_go_of_it(node: Cluster, disk: Disk) -> None:
    assert node.exec("1", "true").returncode == 0
    disk.mount()
    done = node.exec("--cwd", str(disk.at), "1", "sh", "-c", "echo x > file; stat -f -c %T .")
    assert (done.returncode, done.stdout) == (0, b"tmpfs\n")
    assert (disk.at / "file").exists()


def test_a_slave_of_an_ordinary_user_sees_the_disk_too(tmp_path: Path, place: Path, disk: Disk) -> None:
    (place / "file").write_text("x")
    (place / "his").mkdir()
    (place / "his").chmod(0o777)
    cluster = Cluster(tmp_path / "tree")
    cluster.env["GPROC_INIT"] = "python"
    cluster.start_master()
    keys = cluster.place / "node"
    subprocess.run(["cp", "-a", cluster.home, keys], check=True)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", keys], check=True)
    cluster.slave(uid=NOBODY, home=keys)
    try:
        done = cluster.command("cp", f"{place}/file", f"1:{place}/his/", uid=NOBODY)
        assert (done.returncode, done.stderr) == (0, b"")
        disk.mount()
        done = cluster.command("cp", f"{place}/file", f"1:{disk.at}/", uid=NOBODY)
        assert (done.returncode, done.stderr) == (0, b"")
        assert (disk.at / "file").exists()
    finally:
        cluster.stop()
