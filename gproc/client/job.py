"""A job of the library while it runs: its events, its input, its end.  `gproc.client.cluster` makes them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TypeVar

from gproc.client.begun import BegunJob
from gproc.client.brought import BroughtBack
from gproc.client.engine import Engine
from gproc.client.events import Event, Output
from gproc.client.results import Collector, CompletedJob, TimeoutExpired
from gproc.client.session_job import SessionJob

E = TypeVar("E", bound=BaseException)


class Stdin:
    """The standard input of a job: every node's program reads all that is written.

    >>> with cluster.popen(".", ["sort"], stdin=gproc.PIPE) as job:
    ...     job.stdin.write(b"b\\na\\n")
    ...     job.stdin.close()
    4
    """

    def __init__(self, engine: Engine, job: SessionJob) -> None:
        self._engine = engine
        self._job = job
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it, and wait until there is room for it.  Returns the number of bytes.

        Raises: BrokenPipeError if the job has ended; ValueError if it was closed; LinkLost.
        """
        if self.closed:
            raise ValueError("write to the closed standard input of a job")
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            self._engine.wait_until(lambda: self._job.ended or self._job.stdin_credit > 0)
            if self._job.ended:
                raise BrokenPipeError("the job has ended")
            rest = view[written:]
            written += self._engine.call(lambda session, rest=rest: session.write_stdin(self._job, rest))  # type: ignore[misc]
        return written

    def close(self) -> None:
        """End the input.  A second call does nothing."""
        if not self.closed:
            self.closed = True
            self._engine.wait_until(lambda: self._job.ended or self._job.number is not None)
            self._engine.call(lambda session: session.end_stdin(self._job))


class Job(BegunJob):
    """A job that has begun, as `subprocess.Popen` is a process.  Iterate over it for its events.

    args: the command.  stdin: None, unless the job was begun with `stdin=gproc.PIPE`.

        >>> job = cluster.popen("./.", ["./solver"])
        >>> for event in job:
        ...     match event:
        ...         case gproc.Output(node, stream, data): ...
        ...         case gproc.Exited(node, outcome): ...
    """

    def __init__(
        self, engine: Engine, job: SessionJob, args: tuple[str, ...], *, stdin: bool, brought: BroughtBack | None = None
    ) -> None:
        super().__init__(job, args, brought)
        self._bringing = threading.Lock()
        self.stdin = Stdin(engine, job) if stdin else None
        self._engine = engine

    def __iter__(self) -> Iterator[Event]:
        """The events as they come, until all nodes have ended.  Each event goes to one caller only.

        Raises: JobRejected, LinkLost.
        """
        while (event := self._next(None)) is not None:
            yield event

    def poll(self) -> int | None:
        """`returncode`, if it is known without waiting.  Events that have come are kept for the iteration."""
        self._engine.wait_until(lambda: self._job.ended, 0)
        self._bring_files()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.  Returns `returncode`, or raises.  Output that nobody has taken is dropped.

        timeout: in seconds.  Raises: TimeoutExpired, and the job goes on; JobRejected, LinkLost.
        """
        self._drain(timeout, None)
        return self._ended_status()

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> CompletedJob[bytes]:
        """Write the input and end it, gather all output, and wait for the end.

        Raises: TimeoutExpired, and the job goes on: another call goes on with what was gathered, and with the input;
        JobRejected, LinkLost.
        """
        collector = self._gathering(input)
        deadline_s = None if timeout is None else time.monotonic() + timeout
        if self.stdin is not None and not self._write_all(collector, deadline_s):
            raise TimeoutExpired(timeout or 0.0)
        self._drain(timeout, collector, deadline_s)
        return collector.result(self._job, self._concluded())

    def send_signal(self, signum: int) -> None:
        """Send a signal to every process of the job.  Raises: ValueError for a signal that no job can be sent."""
        self._begun()
        self._engine.call(lambda session: session.signal(self._job, signum))

    def leave(self) -> None:
        """Leave the job, which goes on, and wait until that is possible.  Raises: GprocError if it had to be ended."""
        self._check_leaving()
        self._begun()
        self._engine.call(lambda session: session.leave(self._job))
        self._engine.wait_until(lambda: self._job.ended)
        self._check_departure()

    def terminate(self) -> None:
        """SIGTERM to every process of the job."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to every process of the job."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        """Close its input and wait for it; if the block failed, kill it."""
        if self._job.left:
            return
        if kind is not None and self._job.viewed is not None:
            self.leave()
            return
        if kind is not None:
            self.kill()
        elif self.stdin is not None:
            self.stdin.close()
        self.wait()

    def _begun(self) -> None:
        """Wait until the master has taken it.  Raises: JobRejected."""
        self._engine.wait_until(lambda: self._job.number is not None or self._job.rejected is not None)
        if self._job.rejected is not None:
            self._drop_files()
            raise self._job.rejected

    def _be_viewed(self) -> None:
        """It was begun by another program, or before."""
        viewed = self._job.viewed
        assert viewed is not None
        self.args = tuple(map(os.fsdecode, viewed.argv))
        self.stdin = Stdin(self._engine, self._job) if self._job.request.stdin else None

    def _next(self, timeout: float | None) -> Event | None:
        """The next event; None at the end.  Raises: TimeoutExpired, JobRejected, LinkLost."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while True:
            come = self._engine.wait_until(
                lambda: bool(self._events or self._files) or self._job.ended, _left_s(deadline_s)
            )
            if not come:
                raise TimeoutExpired(timeout or 0.0)
            self._bring_files()
            if self._events or self._job.ended:
                return self._take()

    def _bring_files(self) -> None:
        with self._bringing:
            for size in self._bring():
                if not self._job.ended:
                    self._engine.call(lambda session, size=size: session.consumed(self._job, "files", size))  # type: ignore[misc]

    def _take(self) -> Event | None:
        try:
            event = self._events.popleft()
        except IndexError:
            if self._job.rejected is not None:
                raise self._job.rejected from None
            return None
        if isinstance(event, Output) and not self._job.ended:
            stream, size = event.stream, len(event.data)
            self._engine.call(lambda session: session.consumed(self._job, stream, size))
        return event

    def _drain(self, timeout: float | None, collector: Collector | None, deadline_s: float | None = None) -> None:
        """deadline_s: of time.monotonic(), if a part of the timeout is over.  Raises: as `_next`."""
        if timeout is not None and deadline_s is None:
            deadline_s = time.monotonic() + timeout
        while True:
            try:
                event = self._next(_left_s(deadline_s))
            except TimeoutExpired:
                raise TimeoutExpired(timeout or 0.0) from None
            if event is None:
                return
            if collector is not None:
                collector.add(event)

    def _write_all(self, collector: Collector, deadline_s: float | None) -> bool:
        """Write the input and take output meanwhile: a program may not read before its output is read.

        Returns False if the time is up first.
        """
        assert self.stdin is not None
        while self._unsent and not self._job.ended:
            come = self._engine.wait_until(
                lambda: bool(self._events or self._files) or self._job.ended or self._job.stdin_credit > 0,
                _left_s(deadline_s),
            )
            if not come:
                return False
            self._bring_files()
            while self._events:
                if (event := self._take()) is not None:
                    collector.add(event)
            rest = self._unsent
            self._unsent = rest[self._engine.call(lambda session, rest=rest: session.write_stdin(self._job, rest)) :]  # type: ignore[misc]
        self.stdin.close()
        return True


def _left_s(deadline_s: float | None) -> float | None:
    """Seconds until that moment of time.monotonic(); None: for ever."""
    return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
