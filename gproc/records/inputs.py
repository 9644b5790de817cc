"""The last standard input of jobs that go on after a crash of the master: in two files each, below one directory.

The master writes a block here before it sends it, and keeps as many as any node may lack.  Nodes may be at different
places of the stream when it crashes: the next master sends all of these once more, and each node takes what it lacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final, NamedTuple

from gproc.descriptors import write_all
from gproc.records.entries import Broken, SpoolEntry, entries_in, packed
from gproc.records.keeper import RecordKeeper
from gproc.wire.frames import STDOUT

log = logging.getLogger("gproc")


class InputPart(NamedTuple):
    """A block of standard input, without its signature; b"" is the end."""

    offset: int
    data: bytes


class InputFiles:
    """The files.  Every call may wait for the disk, and is from one thread but for those before it runs.

    Raises (all methods): OSError.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._at: dict[int, tuple[int, int]] = {}
        """By job: the file that is written, and its size."""
        os.makedirs(place, 0o700, exist_ok=True)

    def go_on(self, numbers: Collection[int]) -> dict[int, list[InputPart]]:
        """What a former master has left of these jobs, except of jobs of which it could not keep all; all else is
        removed."""
        marks = {number: self._lacking(number) for number in numbers}
        found = {number: self._parts(number) for number, mark in marks.items() if not os.path.exists(mark)}
        # A mark stays for the next master, if this one cannot record that its job is lost.
        for path in {os.path.join(self.place, name) for name in os.listdir(self.place)} - set(marks.values()):
            os.unlink(path)
        for number, parts in found.items():
            if not parts:
                continue  # most jobs have no input, and nothing would remove the file
            self.append(number, sum(len(part.data) for part in parts), parts)
        return found

    def append(self, job: int, keep_bytes: int, parts: Iterable[InputPart]) -> None:
        """Write these behind what is there, of which the last `keep_bytes` stay."""
        data = b"".join(packed(SpoolEntry(0, STDOUT, part.offset, time.time(), part.data)) for part in parts)
        index, size = self._at.get(job, (0, 0))
        if size > keep_bytes:
            index, size = 1 - index, 0
        path = self._path(job, index)
        handle = os.open(path, _WRITE | (os.O_APPEND if size else os.O_TRUNC), 0o600)
        try:
            write_all(handle, data)
        finally:
            os.close(handle)
        self._at[job] = index, size + len(data)

    def give_up(self, job: int) -> None:
        """Nodes get input that is not here: no later master may go on with this job.

        Its record says so too; but a full disk takes no record, and most likely still an empty file.
        """
        with contextlib.suppress(OSError):
            os.close(os.open(self._lacking(job), _WRITE, 0o600))

    def remove(self, job: int) -> None:
        self._at.pop(job, None)
        for path in (self._path(job, 0), self._path(job, 1), self._lacking(job)):
            with contextlib.suppress(OSError):  # a file that stays only takes room
                os.unlink(path)

    def _parts(self, job: int) -> list[InputPart]:
        """The blocks of both files, in order."""
        found: dict[tuple[int, bool], InputPart] = {}
        """By offset, and whether it is the end: the end has the offset of a byte that never comes."""
        for index in (0, 1):
            with (
                contextlib.suppress(FileNotFoundError, Broken), open(self._path(job, index), "rb") as file,
            ):  # fmt: skip
                for entry, _ in entries_in(file.read()):
                    found.setdefault((entry.offset, not entry.data), InputPart(entry.offset, entry.data))
        whole: list[InputPart] = []
        for _, part in sorted(found.items(), key=lambda each: each[0]):
            if whole and part.offset != whole[-1].offset + len(whole[-1].data):
                whole.clear()  # what is before a gap is of no use
            whole.append(part)
        return whole

    def _lacking(self, job: int) -> str:
        return os.path.join(self.place, f"{job}.lacking")

    def _path(self, job: int, index: int) -> str:
        return os.path.join(self.place, f"{job}.{index}")


class JobInputLog:
    """The log of one job.  keep_bytes: as of `InputFiles.append`.  failed: called once if it cannot be written."""

    def __init__(
        self, keeper: RecordKeeper, files: InputFiles, job: int, keep_bytes: int, failed: Callable[[], None]
    ) -> None:
        self._keeper = keeper
        self._files = files
        self._job = job
        self._keep_bytes = keep_bytes
        self._failed = failed
        self._queue: list[tuple[InputPart, Callable[[], None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self.works = True
        self.begun = asyncio.Event()
        """What was passed on before is on the disk, or will not be."""
        self.begun.set()

    def begin(self, parts: Iterable[InputPart]) -> None:
        """This was passed on already, and nodes may lack it."""
        self._queue += [(part, lambda: None) for part in parts]
        if self._queue:
            self.begun.clear()
            self._wake()

    def add(self, part: InputPart, written: Callable[[], None]) -> None:
        """written: called when it is on the disk, or cannot be; not after `close`."""
        if self._closed:
            return
        self._queue.append((part, written))
        self._wake()

    def _wake(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    def close(self) -> None:
        """The job has ended.  What waits is not written: the files would be there again."""
        self._closed = True
        self._queue.clear()
        self.begun.set()
        self._keeper.submit(partial(self._files.remove, self._job))

    async def _write(self) -> None:
        try:
            while self._queue:
                queue, self._queue = self._queue, []
                parts = [part for part, _ in queue]
                try:
                    await self._keeper.run(partial(self._files.append, self._job, self._keep_bytes, parts))
                except OSError as error:
                    self._fail(error)
                    if not self._closed:
                        await self._keeper.run(partial(self._files.give_up, self._job))  # before nodes get it
                self.begun.set()
                for _, written in queue:
                    if not self._closed:  # also by one of them
                        written()
        finally:
            self._writing = None

    def _fail(self, error: OSError) -> None:
        if self.works:
            log.error("job %d: its input cannot be kept: %s; it ends if the master crashes", self._job, error.strerror)
            self.works = False
            self._failed()


_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
