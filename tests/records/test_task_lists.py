"""The list of a job whose tasks the master hands out, on its disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.records import task_lists
from gproc.records.keeper import RecordKeeper
from gproc.records.record import Keeping
from gproc.records.task_lists import TaskListFile
from tests.loop import run


class NearlyFull(io.FileIO):
    """write(2) on a disk that is nearly full takes what fits, and fails only the next time."""

    def write(self, data: object) -> int:
        assert isinstance(data, bytes | memoryview)
        return super().write(data[:1000])


def test_a_list_of_tasks_is_whole_on_a_disk_that_takes_it_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., NearlyFull] = lambda **_: NearlyFull(tmp_path / "list", "w+")  # noqa: E731
    monkeypatch.setattr(task_lists, "TemporaryFile", make)
    data = os.urandom(64 << 10)

    async def kept() -> bytes:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        file = TaskListFile(keeper, str(tmp_path))
        await file.append(data)
        read = b""
        while piece := await file.read():
            read += piece
        file.close()
        keeper.close()
        return read

    assert run(kept()) == data
