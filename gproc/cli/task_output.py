"""How the output of tasks is printed: each task's as one block when it ends, or all of it as it comes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import IO, Final

from gproc.cli.writing import Writing
from gproc.client.events import Stream
from gproc.descriptors import await_writable
from gproc.errors import GprocError
from gproc.request.outcome import Signalled
from gproc.request.template import Template
from gproc.tasks.feed import TaskDone, TaskOutput
from gproc.tasks.task import Task

MEMORY_BYTES: Final = 32 << 20
"""Output of all tasks that waits in memory; a task that would exceed it has a temporary file."""

COPY_BYTES: Final = 1 << 20


class _Block:
    """What one task has written to one stream so far."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size_bytes = 0
        """In memory."""
        self.file: IO[bytes] | None = None

    def add(self, data: bytes) -> None:
        if self.file is not None:
            self.file.write(data)
        else:
            self.pieces.append(data)
            self.size_bytes += len(data)

    def spill(self) -> None:
        from tempfile import TemporaryFile

        self.file = TemporaryFile()  # noqa: SIM115 - it is closed when it has been printed
        self.file.writelines(self.pieces)
        self.pieces, self.size_bytes = [], 0

    def content(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.file is not None:
            self.file.seek(0)
            while data := self.file.read(COPY_BYTES):
                yield data
            self.file.close()


class Printing:
    """grouped: whether a task's output is printed together.  in_order: in the order of the list.

    tagged: each line begins with the task's value.
    """

    def __init__(self, writing: Writing, *, grouped: bool, in_order: bool, tagged: bool) -> None:
        self._writing = writing
        self._grouped = grouped
        self._in_order = in_order
        self._tagged = tagged
        self._blocks: dict[int, dict[Stream, _Block]] = {}
        self._memory_bytes = 0
        self._tasks: dict[int, Task] = {}
        """The bytes of these blocks."""
        self._ended: dict[int, Task] = {}
        """Tasks whose turn has not come yet."""
        self.next = 1
        """The number of the task that is printed next, if they are printed in order."""

    def output(self, said: TaskOutput) -> None:
        if not self._grouped:
            self._writing.write(said.stream, said.data)
            return
        self._tasks[said.task.number] = said.task
        blocks = self._blocks.setdefault(said.task.number, {})
        block = blocks.setdefault(said.stream, _Block())
        before = block.size_bytes
        try:
            if block.file is None and self._memory_bytes + len(said.data) > MEMORY_BYTES:
                block.spill()
            block.add(said.data)
        except OSError as error:
            self._writing.fail_keeping(error)
        self._memory_bytes += block.size_bytes - before

    def done(self, done: TaskDone) -> None:
        if not self._in_order:
            self._print(done.task)
            return
        self._ended[done.task.number] = done.task
        while (task := self._ended.pop(self.next, None)) is not None:
            self._print(task)
            self.next += 1

    def finish(self) -> None:
        """No more tasks end here: earlier tasks of the list may not have run, and others may go on without us."""
        for _, task in sorted({**self._tasks, **self._ended}.items()):
            self._print(task)
        self._ended.clear()

    def _print(self, task: Task) -> None:
        blocks = self._blocks.pop(task.number, {})
        self._tasks.pop(task.number, None)
        for stream in sorted(blocks, reverse=True):  # stdout, then stderr
            block = blocks[stream]
            self._memory_bytes -= block.size_bytes
            content = block.content()
            self._writing.write_all(stream, _tagged(content, task) if self._tagged else content)


class JobLog:
    """A line for each task that has ended, as GNU parallel's --joblog has them."""

    def __init__(self, path: str, template: Template) -> None:
        """path: "-" is standard output.  Raises: GprocError."""
        self._template = template
        self._path = path
        try:
            # A copy of the descriptor: /dev/stdout would be opened anew, and a file there emptied.
            self._file = os.fdopen(os.dup(1), "wb", buffering=0) if path == "-" else open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise GprocError(f"--joblog {path}: {error.strerror}") from error
        self._write(b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n")
        self._received: dict[int, int] = {}

    def output(self, said: TaskOutput) -> None:
        number = said.task.number
        self._received[number] = self._received.get(number, 0) + len(said.data)

    def done(self, done: TaskDone, node: str, ended_s: float | None = None) -> None:
        """ended_s: when it ended, in Unix time; None: now."""
        task, outcome = done.task, done.outcome
        signum = outcome.signal if isinstance(outcome, Signalled) else 0
        command = b" ".join(self._template.command(task.values, task.number, done.slot)).replace(b"\n", b" ")
        started_s = (time.time() if ended_s is None else ended_s) - done.seconds
        received = self._received.pop(task.number, 0)
        status = 0 if signum else outcome.status
        head = f"{task.number}\t{node}\t{started_s:.3f}\t{done.seconds:10.3f}\t0\t{received}\t{status}\t{signum}\t"
        self._write(os.fsencode(head) + command + b"\n")

    def close(self) -> None:
        self._file.close()

    def _write(self, line: bytes) -> None:
        """All of it.  Raises: GprocError; BrokenPipeError."""
        view = memoryview(line)
        while view:
            try:
                view = view[os.write(self._file.fileno(), view) :]
            except BlockingIOError:
                await_writable(self._file.fileno())
            except BrokenPipeError:
                raise
            except OSError as error:
                raise GprocError(f"--joblog {self._path}: {error.strerror}") from error


def _tagged(content: Iterator[bytes], task: Task) -> Iterator[bytes]:
    tag = b" ".join(task.values) + b"\t"
    begins = True
    for data in content:
        yield (tag if begins else b"") + data[:-1].replace(b"\n", b"\n" + tag) + data[-1:]
        begins = data.endswith(b"\n")
