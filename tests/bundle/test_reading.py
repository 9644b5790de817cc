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


@pytest.mark.parametrize("size", [CHUNK_BYTES, 3 * SPAN_BYTES])
def test_a_file_that_ends_too_early_is_not_packed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, size - 1)
    with open(path, "rb") as file, pytest.raises(OSError, match="became shorter"):
        digests_of(file.fileno(), 0, size)
