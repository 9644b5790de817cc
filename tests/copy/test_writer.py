"""The writer makes a file whole or not at all, and makes it only below the directory that was named."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.copy.builtin import PreparedTask
from gproc.copy.descent import WayLost
from gproc.copy.metadata import FROM_NODES, ROOTS_COPY, Keeps
from gproc.copy.steps import ITSELF, Folder, Leaf, Leave, SymlinkStep
from gproc.copy.writer import Writer, open_directory


def writer_in(base: Path, complaints: list[str], keeps: Keeps = FROM_NODES) -> Writer:
    base.mkdir(exist_ok=True)
    return Writer(open_directory(os.fsencode(base)), os.fsencode(base), complaints.append, keeps)


def folder(name: bytes, mode: int = 0o755) -> Folder:
    return Folder(name, mode, os.geteuid(), os.getegid(), 10**18)


def leaf(name: bytes, size_bytes: int = 3, mode: int = 0o644) -> Leaf:
    return Leaf(name, mode, os.geteuid(), os.getegid(), 10**18, size_bytes)


def link(name: bytes, target: bytes) -> SymlinkStep:
    return SymlinkStep(name, target, os.geteuid(), os.getegid(), 10**18)


def write(writer: Writer, step: Leaf, data: bytes = b"new") -> None:
    handle = writer.begin(step)
    if handle is not None:
        os.write(handle, data)
        writer.keep()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    before = open_descriptors()
    writer = writer_in(tmp_path, [])
    handle = writer.begin(leaf(b"file"))
    assert handle is not None
    os.write(handle, b"ne")
    assert (tmp_path / "file").read_text() == "old"
    writer.close()
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
    assert open_descriptors() == before


def test_a_file_appears_whole_under_a_new_inode_and_its_readers_keep_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with open(tmp_path / "file") as reader:
        writer = writer_in(tmp_path, [])
        write(writer, leaf(b"file"))
        writer.close()
        assert reader.read() == "old"
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_mtime_ns == 10**18


def test_a_link_to_a_directory_is_not_entered(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    base = tmp_path / "base"
    base.mkdir()
    (base / "sub").symlink_to(outside)
    complaints: list[str] = []
    writer = writer_in(base, complaints)
    writer.folder(folder(b"sub"))
    writer.folder(folder(b"deeper"))
    write(writer, leaf(b"file"))
    writer.leave(Leave())
    writer.leave(Leave())
    write(writer, leaf(b"after"))
    writer.close()
    assert os.listdir(outside) == []
    assert complaints == [f"{base}/sub: not a directory, or a link; a directory cannot replace it"]
    assert (base / "after").read_text() == "new"


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    writer = writer_in(tmp_path / "base", [])
    writer.link(link(b"file", b"../outside"))
    write(writer, leaf(b"file"))
    writer.close()
    assert (tmp_path / "outside").read_text() == "mine"
    assert not (tmp_path / "base" / "file").is_symlink()
    assert (tmp_path / "base" / "file").read_text() == "new"


def test_a_directory_that_is_moved_away_meanwhile_takes_the_writer_nowhere_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    base = tmp_path / "base"
    writer = writer_in(base, [])
    writer.folder(folder(b"a"))
    writer.folder(folder(b"b"))
    (base / "a").rename(tmp_path / "moved")
    (base / "a").symlink_to(outside)
    write(writer, leaf(b"in b"))
    with pytest.raises(WayLost, match="was moved or exchanged"):
        writer.leave(Leave())
    writer.close()
    assert os.listdir(outside) == ["b"]
    assert (tmp_path / "moved" / "b" / "in b").read_text() == "new"


def test_a_directory_exchanged_for_another_one_takes_the_writer_nowhere_else(tmp_path: Path) -> None:
    base = tmp_path / "base"
    writer = writer_in(base, [])
    writer.folder(folder(b"a"))
    writer.folder(folder(b"b"))
    (base / "a").rename(tmp_path / "moved")
    (base / "a").mkdir()
    with pytest.raises(WayLost):
        writer.leave(Leave())
    writer.close()
    assert os.listdir(base / "a") == []


def test_directories_get_their_mode_and_time_after_their_content(tmp_path: Path) -> None:
    complaints: list[str] = []
    writer = writer_in(tmp_path / "base", complaints)
    writer.folder(folder(b"closed", 0o500))
    write(writer, leaf(b"file", mode=0o400))
    writer.leave(Leave())
    writer.close()
    closed = (tmp_path / "base" / "closed").stat()
    assert (stat.S_IMODE(closed.st_mode), closed.st_mtime_ns, complaints) == (0o500, 10**18, [])


def test_the_directory_itself_is_entered_if_a_step_says_so(tmp_path: Path) -> None:
    writer = writer_in(tmp_path / "base", [])
    writer.folder(folder(ITSELF, 0o750))
    write(writer, leaf(b"file"))
    writer.leave(Leave())
    writer.close()
    assert (tmp_path / "base" / "file").exists()
    assert stat.S_IMODE((tmp_path / "base").stat().st_mode) == 0o750


def test_a_set_id_bit_is_kept_only_if_it_is_asked_for(tmp_path: Path) -> None:
    for keeps, mode in ((FROM_NODES, 0o755), (ROOTS_COPY, 0o6755 if os.geteuid() == 0 else 0o755)):
        writer = writer_in(tmp_path, [], keeps)
        write(writer, leaf(b"file", mode=0o6755))
        writer.close()
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_task_that_is_ended_removes_its_unfinished_files(tmp_path: Path, signum: signal.Signals) -> None:
    (tmp_path / "file").write_text("old")
    reader, begun = os.pipe()

    def work(complain: Callable[[str], None]) -> None:
        writer = Writer(open_directory(os.fsencode(tmp_path)), b"", complain, FROM_NODES)
        try:
            handle = writer.begin(leaf(b"file"))
            assert handle is not None
            os.write(handle, b"ne")
            os.write(begun, b"!")
            while True:  # a signal that comes just before a longer sleep would be heard after it
                time.sleep(0.01)
        finally:
            writer.close()

    pid = PreparedTask(work, (begun,)).fork()
    assert os.read(reader, 1) == b"!"
    os.kill(pid, signum)
    _, status = os.waitpid(pid, 0)
    os.close(reader)
    os.close(begun)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signum
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
