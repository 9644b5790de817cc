"""The files of all spools, below one directory: a directory for each job, with files numbered from 0.

Every call may wait for the disk, and all but `SpoolReader` are from one thread (`gproc.records.keeper`).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from gproc.descriptors import write_all
from gproc.records.entries import DATA_BYTES_MAX, HEAD_BYTES, Broken, SpoolEntry, SpoolFile, entries_in, to_drop
from gproc.records.positions import FoundSpool, Positions

log = logging.getLogger("gproc")

FILE_BYTES: Final = 4 << 20
"""A file is not continued from this size on: a bound drops whole files."""

FILES_MIN: Final = 32
"""The least number of files into which the space of a user is cut."""

TOLD_S: Final = 60.0
"""Seconds between two lines of the log about output that was dropped."""

READ_BYTES: Final = 512 << 10
"""A read holds one entry at least."""

assert READ_BYTES >= HEAD_BYTES + DATA_BYTES_MAX


class SpoolBounds(NamedTuple):
    """Bytes of output that are kept of each user, and of all."""

    each_bytes: int = 1 << 30
    all_bytes: int = 8 << 30


class SpoolEnd(NamedTuple):
    """Where the next entry of a job will be: in which file, and behind how many bytes."""

    part: int = 0
    position: int = 0


class Batch(NamedTuple):
    """Entries of one job that are written together.  ended: they are its last."""

    job: int
    uid: int
    entries: list[bytes]
    ended: bool


_FULL: Final = "the space for kept output is full"


class _Job:
    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.sizes: dict[int, int] = {}
        """The sizes by the file's number."""
        self.ended = False
        self.positions = Positions()
        self.lacks_positions = False
        """Whether dropped output, which is on no disk, has changed them."""
        self.problem = ""


class SpoolFiles:
    """What is on the disk, and what that takes."""

    def __init__(self, place: str, bounds: SpoolBounds) -> None:
        self.place = place
        self._bounds = bounds
        self._file_bytes = min(FILE_BYTES, bounds.each_bytes // FILES_MIN)
        self._jobs: dict[int, _Job] = {}
        self._used: dict[int, int] = {}
        self._failing = False
        self._untold_bytes = 0
        self._untold_jobs: set[int] = set()
        self._silent_until_s = 0.0
        os.makedirs(place, 0o700, exist_ok=True)

    def open(self, owners: Mapping[int, int]) -> None:
        """Find what former masters have left.  owners: the users of the jobs that have a spool; others' are removed."""
        for name in os.listdir(self.place):
            number = int(name) if name.isascii() and name.isdigit() else None
            if number is None or number not in owners:
                shutil.rmtree(os.path.join(self.place, name), ignore_errors=True)
                continue
            job = self._jobs[number] = _Job(owners[number])
            job.ended = True
            for index in _numbers(os.path.join(self.place, name)):
                self._resize(job, index, os.stat(self._path(number, index)).st_size)

    def go_on(self, number: int, uid: int) -> tuple[FoundSpool, SpoolEnd]:
        """A job goes on whose master has crashed.  What that one had not written to its end is cut off.

        Returns what is there, and where the next entry will be.  Raises: OSError.
        """
        job = self._jobs.setdefault(number, _Job(uid))
        job.ended = False
        found = FoundSpool()
        for index in sorted(job.sizes):
            size = _read_whole(self._path(number, index), found)
            if index == max(job.sizes) and size < job.sizes[index]:
                os.truncate(self._path(number, index), size)
                self._resize(job, index, size)
        job.positions = found.positions
        index = max(job.sizes, default=0)
        return found, SpoolEnd(index, job.sizes.get(index, 0))

    def write(self, batches: Iterable[Batch]) -> dict[int, SpoolEnd]:
        """Append.  What does not fit is dropped: the offsets of what follows show it.  Returns the ends by job."""
        return {batch.job: self._write(batch) for batch in batches}

    def problem_of(self, number: int) -> str:
        """Why some of a job's output is not here; "" if all is.  Another thread may ask."""
        job = self._jobs.get(number)
        return "" if job is None else job.problem

    def remove(self, numbers: Collection[int]) -> None:
        for number in numbers:
            job = self._jobs.pop(number, None)
            if job is not None:
                self._used[job.uid] -= sum(job.sizes.values())
                shutil.rmtree(self._path(number), ignore_errors=True)

    def _write(self, batch: Batch) -> SpoolEnd:
        job = self._jobs.get(batch.job)
        if job is None:
            job = self._jobs[batch.job] = _Job(batch.uid)
        data = b"".join(batch.entries)
        index = max(job.sizes, default=0)
        is_full = job.sizes.get(index, 0) >= self._file_bytes
        if is_full:
            index += 1
        if is_full or job.lacks_positions:
            data = b"".join((*job.positions.entries(time.time()), data))
        for entry in batch.entries:
            job.positions.add(entry)
        job.lacks_positions = True
        self._make_room(batch.job, job, index, len(data))
        if self._fits(job.uid, len(data)):
            try:
                self._append(batch.job, job, index, data)
                job.lacks_positions = self._failing = False
            except OSError as error:
                if not self._failing:
                    log.error("cannot keep output of jobs in %s: %s; it is dropped", self.place, error.strerror)
                self._failing = True
                job.problem = job.problem or f"{self.place}: {error.strerror}"
        else:
            job.problem = job.problem or _FULL
        if batch.ended:
            job.ended, job.positions = True, Positions()
        return SpoolEnd(index, job.sizes.get(index, 0))

    def _append(self, number: int, job: _Job, index: int, data: bytes) -> None:
        """Raises: OSError, and then nothing was appended that is read."""
        path = self._path(number, index)
        try:
            handle = os.open(path, _APPEND, 0o600)
        except FileNotFoundError:
            os.makedirs(self._path(number), 0o700, exist_ok=True)
            handle = os.open(path, _APPEND, 0o600)
        before = job.sizes.get(index, 0)
        try:
            write_all(handle, data)
        except OSError:
            try:
                os.ftruncate(handle, before)
            except OSError:
                # Half an entry stays.  Nobody could read what is behind it, so the next one begins a new file.
                self._resize(job, index, max(self._file_bytes, os.fstat(handle).st_size))
            raise
        finally:
            os.close(handle)
        self._resize(job, index, before + len(data))

    def _fits(self, uid: int, size: int) -> bool:
        used, together = self._used.get(uid, 0), sum(self._used.values())
        return used + size <= self._bounds.each_bytes and together + size <= self._bounds.all_bytes

    def _make_room(self, number: int, job: _Job, index: int, size: int) -> None:
        """Remove the oldest output until this much more fits: first this user's, then that of all users."""
        job.sizes.setdefault(index, 0)  # so that this file counts as the one that is written
        used, together = self._used.get(job.uid, 0), sum(self._used.values())
        if (over := used + size - self._bounds.each_bytes) > 0:
            self._drop({job.uid}, max(over, self._bounds.each_bytes // FILES_MIN))
        if (over := together + size - self._bounds.all_bytes) > 0:
            self._drop(set(self._used), max(over, self._bounds.all_bytes // FILES_MIN))

    def _drop(self, uids: Collection[int], free_bytes: int) -> None:
        files = [
            SpoolFile(number, index, size, job.ended, not job.ended and index == max(job.sizes))
            for number, job in self._jobs.items() if job.uid in uids for index, size in job.sizes.items()
        ]  # fmt: skip
        dropped = to_drop(files, free_bytes)
        for file in dropped:
            job = self._jobs[file.job]
            try:
                os.unlink(self._path(file.job, file.part))
            except FileNotFoundError:
                pass
            except OSError:  # a disk that can only be read: the file still takes room
                continue
            if not job.ended:
                job.problem = job.problem or _FULL
            self._resize(job, file.part, 0)
            del job.sizes[file.part]
        self._tell(dropped)

    def _tell(self, dropped: Collection[SpoolFile]) -> None:
        """One line a minute: a program that writes more than is kept has files dropped all the time."""
        self._untold_bytes += sum(file.size for file in dropped)
        self._untold_jobs.update(file.job for file in dropped)
        if self._untold_jobs and time.monotonic() >= self._silent_until_s:
            log.info(
                "dropped %d bytes of output of %d jobs: their users' spool is full",
                self._untold_bytes,
                len(self._untold_jobs),
            )
            self._silent_until_s = time.monotonic() + TOLD_S
            self._untold_bytes = 0
            self._untold_jobs.clear()

    def _resize(self, job: _Job, index: int, size: int) -> None:
        self._used[job.uid] = self._used.get(job.uid, 0) + size - job.sizes.get(index, 0)
        job.sizes[index] = size

    def _path(self, number: int, index: int | None = None) -> str:
        return spool_path(self.place, number, index)


class SpoolReader:
    """Reads one job's entries in order, while they are written.  Its calls may be from any thread, one at a time."""

    def __init__(self, place: str, job: int, begin: SpoolEnd | None = None) -> None:
        """begin: where to begin; None: at the first that is kept."""
        self._place = spool_path(place, job)
        self._index = -1 if begin is None else begin.part
        self._position = 0 if begin is None else begin.position
        self._handle = -1
        self.broken = ""
        """Why the rest of a file could not be read: most likely its master crashed."""

    def read(self) -> list[SpoolEntry]:
        """The next entries; none if there are none now."""
        while True:
            if self._handle < 0 and not self._open():
                return []
            data = os.pread(self._handle, READ_BYTES, self._position)
            found: list[SpoolEntry] = []
            try:
                for entry, size in entries_in(data):
                    self._position += size
                    found.append(entry)
            except Broken as error:
                self.broken = str(error)
                self._position = 1 << 62
            if found:
                return found
            if not self._next(len(data)):
                return []

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> bool:
        """Open the present file, or the next one that is there."""
        following = [index for index in self._files() if index >= self._index]
        if not following:
            return False
        if following[0] != self._index:
            self._index, self._position = following[0], 0
        try:
            self._handle = os.open(os.path.join(self._place, str(self._index)), _READ)
        except FileNotFoundError:
            return False  # it was dropped just now
        return True

    def _next(self, rest_bytes: int) -> bool:
        """Go on to the next file, if there is one: the present one was complete before.

        rest_bytes: how much of the present one was there when it was read: no whole entry.
        """
        if not [index for index in self._files() if index > self._index]:
            return False
        if len(os.pread(self._handle, READ_BYTES, self._position)) != rest_bytes:
            return True  # it grew between the two looks
        self.close()
        self._index, self._position = self._index + 1, 0
        return True

    def _files(self) -> list[int]:
        return sorted(_numbers(self._place))


def _numbers(place: str) -> list[int]:
    """Those of a job's files.  Other names are not ours, as `lost+found` or a copy that a person made."""
    try:
        return [int(name) for name in os.listdir(place) if name.isascii() and name.isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_whole(path: str, found: FoundSpool) -> int:
    """Add the entries of one file.  Returns the size of those that are whole, from the first on.  Raises: OSError."""
    handle = os.open(path, _READ)
    position = 0
    try:
        while data := os.pread(handle, READ_BYTES, position):
            before = position
            for entry, size in entries_in(data):
                position += size
                found.add(entry)
            if position == before:
                break
    except Broken:
        pass
    finally:
        os.close(handle)
    return position


def spool_path(place: str, number: int, index: int | None = None) -> str:
    own = os.path.join(place, str(number))
    return own if index is None else os.path.join(own, str(index))


_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
