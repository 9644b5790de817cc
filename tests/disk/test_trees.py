"""Copies of trees: they have what the original has, and no more of the disk."""

from __future__ import annotations

import os
from pathlib import Path

from gproc.disk.trees import copy_tree


def test_a_copy_of_a_sparse_file_has_its_holes(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    with open(tmp_path / "from/sparse", "wb") as sparse:
        sparse.write(b"begin")
        sparse.seek(64 << 20)
        sparse.write(b"middle")
        sparse.truncate((128 << 20) + 5)
    (tmp_path / "from/hole").touch()
    os.truncate(tmp_path / "from/hole", 1 << 30)
    (tmp_path / "to").mkdir()
    copy_tree(os.fsencode(tmp_path / "from"), os.fsencode(tmp_path / "to"))
    assert (tmp_path / "to/sparse").read_bytes() == (tmp_path / "from/sparse").read_bytes()
    assert (tmp_path / "to/hole").stat().st_size == 1 << 30
    for name in ("sparse", "hole"):
        assert (tmp_path / "to" / name).stat().st_blocks <= (tmp_path / "from" / name).stat().st_blocks + 64
