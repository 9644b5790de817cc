"""A file is written completely or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gproc.disk.whole import written_whole


class DiskFailed(Exception):
    """What a writer says in the middle."""


def test_half_a_file_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"whole")
    with pytest.raises(DiskFailed), written_whole(str(path), 0o600) as file:
        file.write(b"ha")
        file.flush()
        assert path.read_bytes() == b"whole"
        raise DiskFailed
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["keys"]


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o640), (0o644, 0o644), (0o600, 0o600)])
def test_a_new_file_is_as_the_umask_says_unless_it_has_a_mode_of_its_own(
    tmp_path: Path, mode: int | None, expected: int
) -> None:
    before = os.umask(0o027)
    try:
        with written_whole(str(tmp_path / "new"), mode) as file:
            file.write(b"all")
            beside = next(tmp_path.iterdir())
            assert stat.S_IMODE(beside.stat().st_mode) == (0o640 if mode is None else 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == expected
    assert os.listdir(tmp_path) == ["new"]


def test_a_device_is_written_and_not_replaced() -> None:
    with written_whole("/dev/null", 0o600) as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match="No space"), written_whole("/dev/full") as file:
        file.write(b"gone")
