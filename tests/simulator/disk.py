"""The disk of the simulated master: a directory with the files that the product writes, and the thread that writes.

A crash loses what waits for the thread.  What it does just then is done, or not, or half.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gproc.errors import GprocError
from gproc.records.database import Changes, JobDatabase
from tests.simulator.clock import present_process

if TYPE_CHECKING:
    import asyncio

    from tests.simulator.clock import VirtualLoop

IN_MEMORY = "/dev/shm"


class FullDatabase(JobDatabase):
    """The product's, on a disk which may be full."""

    disk: Disk

    def write(self, changes: Changes) -> None:
        if self.disk.is_full and self.disk.random.random() < 0.5:
            raise GprocError("cannot keep job records: database or disk is full")
        super().write(changes)


class Disk:
    """boot: of the machine's start.  is_full: whether no output of jobs can be written now."""

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self._directory = tempfile.TemporaryDirectory(dir=IN_MEMORY if os.path.isdir(IN_MEMORY) else None)
        self.place = self._directory.name
        self.boots = 1
        self.is_full = False
        self._thread: SimThread | None = None

    def write_all(self, handle: int, data: bytes | memoryview) -> None:
        """As `gproc.descriptors.write_all`, on a disk that takes a part, or nothing, if it is full."""
        view = memoryview(data)
        while view:
            if self.is_full and (len(view) < 2 or self.random.random() < 0.5):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = view[os.write(handle, view[: len(view) // 2] if self.is_full else view) :]

    @property
    def boot(self) -> str:
        return f"boot {self.boots}"

    def new_thread(self, *_: object) -> SimThread:
        """Instead of `ThreadPoolExecutor`."""
        self._thread = SimThread(self)
        return self._thread

    def crash(self) -> None:
        """Its master is no more."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        before = self._sizes()
        if self.random.random() < 0.5:
            thread.do_next()
        for path, size in self._sizes().items():
            known = before.get(path, 0)
            if size != known and self.random.random() < 0.5:
                os.truncate(path, self.random.randint(known if known < size else 0, size))
        thread.drop()

    def write_list(self, file: IO[bytes], data: bytes) -> None:
        """Instead of `task_lists._write_all`."""
        if self.is_full and self.random.random() < 0.5:
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(data)

    def close(self) -> None:
        self._directory.cleanup()

    def _sizes(self) -> dict[Path, int]:
        """The sizes of the files that are appended to."""
        files = [file for name in ("spool", "input") for file in Path(self.place, name).rglob("*") if file.is_file()]
        return {file: file.stat().st_size for file in files}


class _Work:
    """As `concurrent.futures.Future`, of one thread that may be told to hurry."""

    def __init__(self, thread: SimThread, work: Callable[[], Any], told: Callable[[_Work], None]) -> None:
        self._thread = thread
        self._work = work
        self._told = told
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False

    def do(self) -> None:
        try:
            self.value = self._work()
        except Exception as error:  # noqa: BLE001 - its result is for the caller that waits
            self.error = error
        self.done = True
        self._told(self)

    def result(self) -> Any:
        """Wait for it.  Raises: what it raises."""
        while not self.done:
            self._thread.do_next()
        if self.error is not None:
            raise self.error
        return self.value


class SimThread:
    """Does one piece of work after the other, each a while after it could.  It belongs to the process that makes it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._process = present_process()
        self._queue: deque[_Work] = deque()
        self._waits = False

    def submit(self, work: Callable[..., Any], *args: object) -> _Work:
        return self._add(lambda: work(*args), lambda _: None)

    def call(self, work: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        """For an event loop."""
        future: asyncio.Future[Any] = self._disk.loop.create_future()

        def tell(done: _Work) -> None:
            if future.cancelled():
                return
            if done.error is not None:
                future.set_exception(done.error)
            else:
                future.set_result(done.value)

        self._add(lambda: work(*args), tell)
        return future

    def shutdown(self) -> None:
        while self._queue:
            self.do_next()

    def drop(self) -> None:
        self._queue.clear()

    def do_next(self) -> None:
        if self._queue:
            self._queue.popleft().do()

    def _add(self, work: Callable[[], Any], told: Callable[[_Work], None]) -> _Work:
        piece = _Work(self, work, told)
        self._queue.append(piece)
        self._go_on()
        return piece

    def _go_on(self) -> None:
        if self._queue and not self._waits:
            self._waits = True
            most_s = self._disk.random.choice((0.002, 0.002, 0.002, 0.02, 0.2))
            pause_s = self._disk.random.uniform(0.0, most_s)
            self._disk.loop.call_later(pause_s, self._step, context=self._process.context)

    def _step(self) -> None:
        self._waits = False
        self.do_next()
        self._go_on()
