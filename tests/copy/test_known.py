"""What nodes are told of the files that a caller has: enough to save bytes, and nothing about other nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.copy.known import KNOWN_BYTES_MIN, KNOWN_MAX, Known, read_known, told_of

SIZE = KNOWN_BYTES_MIN


def made(path: Path, mtime_ns: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(SIZE))
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.mark.parametrize(("top", "path"), [(b"top", b"top/a/b"), (b".", b"a/b"), (b"file", b"file")])
def test_a_node_knows_its_own_files_again_and_no_others(tmp_path: Path, top: bytes, path: bytes) -> None:
    made(tmp_path / "1" / os.fsdecode(path))
    told = told_of([(b"1", os.fsencode(tmp_path / "1")), (b"2", os.fsencode(tmp_path / "2"))], top)
    assert Known(told, b"1").has(path, SIZE, 5)
    assert not Known(told, b"2").has(path, SIZE, 5)
    assert not Known(told, b"1").has(path, SIZE + 1, 5)
    assert not Known(told, b"1").has(path, SIZE, 6)
    assert not Known(told, b"1").has(path + b"x", SIZE, 5)


def test_no_link_is_followed_and_small_files_are_not_told_of(tmp_path: Path) -> None:
    made(tmp_path / "outside" / "f")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "top").symlink_to("../outside")
    (tmp_path / "1" / "dir").mkdir()
    (tmp_path / "1" / "dir" / "link").symlink_to("../../outside/f")
    (tmp_path / "1" / "dir" / "small").write_bytes(b"x")
    for top in (b"top", b"dir", b"gone"):
        assert len(told_of([(b"1", os.fsencode(tmp_path / "1"))], top)) == 16


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_whatever_comes_matches_nothing(told: bytes, path: bytes) -> None:
    assert not Known(told, b"1").has(path, SIZE, 0)


def test_no_more_is_kept_than_may_be_told() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        for _ in range(3 * KNOWN_MAX // 1024):
            os.write(writer, os.urandom(16 * 1024))
        os._exit(0)
    os.close(writer)
    known = read_known(reader, b"1")
    os.close(reader)
    os.wait()
    assert len(known._digests) <= KNOWN_MAX
