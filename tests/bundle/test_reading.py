"""The digests of a file's chunks, read by one thread or by two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES, digest_of
from gproc.content.reading import SPAN_BYTES, digests_of


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * SPAN_BYTES, 3 * SPAN_BYTES + 1])
def test_a_long_files_digests_are_in_the_order_of_its_chunks(tmp_path: Path, size: int) -> None:
    content = b"".join(number.to_bytes(8) for number in range(-(-size // 8)))[:size]
    (tmp_path / "file").write_bytes(b"head" + content)
    with open(tmp_path / "file", "rb") as file:
        found = digests_of(file.fileno(), 4, 4 + size)
    assert found == b"".join(digest_of(content[at : at + CHUNK_BYTES]) for at in range(0, size, CHUNK_BYTES))


@pytest.mark.parametrize("data", [(), (0,), (5,), (7, 8, 40)])
@pytest.mark.parametrize("size", [2 * SPAN_BYTES, 3 * SPAN_BYTES + 1])
def test_a_file_with_holes_has_the_digests_of_its_zeros(tmp_path: Path, size: int, data: tuple[int, ...]) -> None:
    with open(tmp_path / "file", "wb") as file:
        for number in data:
            file.seek(number * CHUNK_BYTES // 2)
            file.write(b"data")
        file.truncate(size)
    content = (tmp_path / "file").read_bytes()
    with open(tmp_path / "file", "rb") as file:
        found = digests_of(file.fileno(), 0, size)
    assert found == b"".join(digest_of(content[at : at + CHUNK_BYTES]) for at in range(0, size, CHUNK_BYTES))


def read_bytes() -> int:
    """How much this process has read of anything: proc(5)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_hole_is_not_read(tmp_path: Path) -> None:
    """`-f` of a sparse file of 100 GB read zeros for minutes, without a word."""
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 40)
    with open(tmp_path / "file", "rb") as file:
        if os.lseek(file.fileno(), 0, os.SEEK_HOLE) != 0:
            pytest.skip("this file system reports no holes")
        before = read_bytes()
        digests_of(file.fileno(), 0, 1 << 34)
        assert read_bytes() - before < CHUNK_BYTES


@pytest.mark.parametrize("size", [CHUNK_BYTES, 3 * SPAN_BYTES])
def test_a_file_that_ends_too_early_is_not_packed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, size - 1)
    with open(path, "rb") as file, pytest.raises(OSError, match="became shorter"):
        digests_of(file.fileno(), 0, size)
