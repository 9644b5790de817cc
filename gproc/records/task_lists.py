"""The list of a job whose tasks the master hands out, on the disk: in a file without a name, gone with its master."""

from __future__ import annotations

import os
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO, Final, TypeVar

from gproc.errors import GprocError
from gproc.records.keeper import RecordKeeper
from gproc.shown import reason_of

READ_BYTES: Final = 128 << 10

T = TypeVar("T")


class TaskListFile:
    """The thread of the records reads and writes it.  Raises (all methods): GprocError if the disk fails."""

    def __init__(self, keeper: RecordKeeper, place: str) -> None:
        self._keeper = keeper
        self._place = place
        self._file: IO[bytes] | None = None
        self._position = 0
        self._is_closed = False

    async def append(self, data: bytes) -> None:
        await self._run(lambda file: _write_all(file, data))

    async def read(self) -> bytes:
        """The next bytes, from the first on; b"" at the end."""
        data = await self._run(lambda file: os.pread(file.fileno(), READ_BYTES, self._position))
        self._position += len(data)
        return data

    def close(self) -> None:
        """Nothing is read any more."""
        self._keeper.submit(self._close)

    async def _run(self, work: Callable[[IO[bytes]], T]) -> T:
        try:
            return await self._keeper.run(lambda: work(self._opened()))
        except OSError as error:
            raise GprocError(f"cannot keep the list of tasks in {self._place}: {reason_of(error)}") from error

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            if self._is_closed:
                raise GprocError("the job of this list is over")
            self._file = TemporaryFile(dir=self._place, buffering=0)  # noqa: SIM115 - until the job ends
        return self._file

    def _close(self) -> None:
        self._is_closed = True
        if self._file is not None:
            self._file.close()
            self._file = None


def _write_all(file: IO[bytes], data: bytes) -> None:
    """A disk that is nearly full takes part of it, and says only the next time that there is no room."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
