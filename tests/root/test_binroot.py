"""binRoot as a directory of the node: works, or is refused with the reason."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from gproc.errors import LaunchError
from gproc.root.binroot import claim, job_name


def test_a_missing_directory_is_made_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a" / "xproc"
    held = claim(os.fsencode(path))
    assert path.is_dir()
    held.release()
    assert not path.exists()


def test_the_last_of_several_slaves_removes_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "xproc"
    first, second = claim(os.fsencode(path)), claim(os.fsencode(path))
    first.release()
    assert path.is_dir()
    second.release()
    assert not path.exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    claim(os.fsencode(tmp_path)).release()
    assert tmp_path.is_dir()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(LaunchError, match="symbolic link"):
        claim(os.fsencode(tmp_path / "link"))


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match="not a directory"):
        claim(os.fsencode(tmp_path / "file"))


def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, 1234, -1)
    with pytest.raises(LaunchError, match="belongs to uid 1234"):
        claim(os.fsencode(tmp_path))


def test_a_directory_that_others_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(LaunchError, match="written to by others"):
        claim(os.fsencode(tmp_path))


def test_files_of_a_dead_slave_are_removed_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    path = tmp_path / "xproc"
    held = claim(os.fsencode(path))
    dead = path / os.fsdecode(job_name(1 << 30, 1))
    alive = path / os.fsdecode(job_name(os.getpid(), 1))
    for directory in (dead / "usr" / "bin", alive):
        directory.mkdir(parents=True)
    (dead / "usr" / "bin" / "x").write_text("x")
    (dead / "usr").chmod(0)
    claim(os.fsencode(path)).release()
    assert [entry.name for entry in path.iterdir()] == [alive.name]
    alive.rmdir()
    held.release()


def test_one_that_was_removed_is_made_again_for_the_next_job(tmp_path: Path) -> None:
    """All jobs of the node failed, until its slave was started again."""
    path = tmp_path / "xproc"
    held = claim(os.fsencode(path))
    inode = path.stat().st_ino
    held.hold()
    assert path.stat().st_ino == inode
    path.rmdir()
    held.hold()
    assert path.is_dir()
    path.rmdir()
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(LaunchError, match="may be written to by others"):
        held.hold()
    held.release()


def test_a_directory_that_cannot_be_locked_left_a_traceback_and_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS whose server locks nothing."""

    def unlocked(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(fcntl, "flock", unlocked)
    with pytest.raises(LaunchError, match="No locks available"):
        claim(os.fsencode(tmp_path / "xproc"))
    assert os.listdir("/proc/self/fd") == before
