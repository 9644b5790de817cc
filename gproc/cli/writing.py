"""How a job's output is written to our standard output and standard error."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, Protocol

from gproc.client.events import Stream
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Progress
from gproc.descriptors import await_writable
from gproc.naming.naming import Naming

DESCRIPTORS: Final[dict[Stream, int]] = {"stdout": 1, "stderr": 2}


class Reading(Protocol):
    """The job whose output is written, in our foreground."""

    job: SessionJob
    reader_is_gone: bool
    problem: str | None

    def stop(self) -> None:
        """Its output has no reader any more."""


class Writing:
    """Writes all of it, or ends the job if that is not possible."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._closed: set[Stream] = set()
        self._reading: Reading | None = None

    def watch(self, reading: Reading) -> None:
        """Set the job that ends if its output has no reader any more."""
        self._reading = reading

    @property
    def job(self) -> SessionJob:
        assert self._reading is not None
        return self._reading.job

    @property
    def naming(self) -> Naming:
        """How the job's nodes are called."""
        return self.job.naming

    def write(self, stream: Stream, data: bytes | memoryview) -> None:
        """Write all of it.  If the reader is gone, the job ends."""
        assert self._reading is not None
        self._progress.clear()
        view = memoryview(data)
        descriptor = DESCRIPTORS[stream]
        while view and stream not in self._closed:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                await_writable(descriptor)
            except BrokenPipeError:
                self._closed.add(stream)
                self._reading.reader_is_gone = True
                self._reading.stop()
            except OSError as error:
                self._closed.add(stream)
                self.fail(f"cannot write {stream}: {error.strerror}")

    def write_all(self, stream: Stream, pieces: Iterable[bytes | memoryview]) -> None:
        """The pieces may come from a temporary file, in which what cannot be written yet was kept."""
        try:
            for piece in pieces:
                self.write(stream, piece)
        except OSError as error:  # not of `write`
            self.fail_keeping(error)

    def fail_keeping(self, error: OSError) -> None:
        """End the job, because output that waits cannot be kept, as below a $TMPDIR that is full."""
        self.fail(f"cannot keep the nodes' output in a temporary file: {error.strerror}")

    def fail(self, problem: str) -> None:
        """End the job, because its output cannot be taken."""
        assert self._reading is not None
        if self._reading.problem is None:
            self._reading.problem = problem
            self._reading.stop()
