"""Bugs that are planted into what the master does when its disk takes no records and no lists."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from gproc.errors import GprocError
from gproc.records.keeper import Noted, RecordKeeper
from gproc.records.task_lists import TaskListFile


def records_are_written_once(
    self: RecordKeeper, done: asyncio.Future[None], written: dict[int, Noted], nodes: dict[bytes, bytes | None]
) -> None:
    if done.exception() is None:
        _wrote(self, done, written, nodes)
    else:
        self._writing = None


_wrote = RecordKeeper._wrote


async def part_of_a_list_is_left_out(self: TaskListFile, data: bytes) -> None:
    with contextlib.suppress(GprocError):
        await _append(self, data)


_append = TaskListFile.append

ON_FULL_DISKS: Final[dict[str, tuple[Any, str, Any]]] = {
    "records that no disk took are forgotten": (RecordKeeper, "_wrote", records_are_written_once),
    "a part of a list that no disk took is left out": (TaskListFile, "append", part_of_a_list_is_left_out),
}
