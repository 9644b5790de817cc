"""The files of this machine into which a job's output goes."""

from __future__ import annotations

import logging
import os
import stat
from collections import defaultdict
from collections.abc import Hashable
from typing import Final

from gproc.adapters.invoke.attributes import Redirect
from gproc.client.events import Stream
from gproc.shown import reason_of

log: Final = logging.getLogger("gproc.invoke")

LINE_BYTES_MAX: Final = 64 << 10
"""A longer line may be mixed with the lines of other processes of the job."""


class OutputFiles:
    """Takes the output of all processes of a job.  Lines of different processes are not mixed.

    lost: why something of it is in no file, a clause for each stream.
    """

    def __init__(self, redirect: Redirect | None) -> None:
        """redirect: the files, which are emptied; None: the output is dropped.  Raises: OSError for a file."""
        self.lost: list[str] = []
        self._files: dict[Stream, int] = {}
        self._begun: defaultdict[tuple[Stream, Hashable], bytes] = defaultdict(bytes)
        try:
            if redirect is not None:
                self._files["stdout"] = _opened(redirect.stdout)
                self._files["stderr"] = _opened(redirect.stderr)
        except OSError:
            self.close()
            raise

    def write(self, process: Hashable, stream: Stream, data: bytes) -> None:
        """process: tells the processes of the job apart."""
        if stream not in self._files:
            return
        lines, newline, rest = (self._begun.pop((stream, process), b"") + data).rpartition(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            lines, rest = lines + newline + rest, b""
            newline = b""
        if rest:
            self._begun[stream, process] = rest
        self._put(stream, lines + newline)

    def close(self) -> None:
        """Write the last lines, which had no end."""
        for (stream, _), rest in self._begun.items():
            self._put(stream, rest)
        self._begun.clear()
        for stream in list(self._files):
            self._end(stream)

    def _put(self, stream: Stream, data: bytes) -> None:
        try:
            while data and stream in self._files:
                data = data[os.write(self._files[stream], data) :]
        except OSError as error:
            self._lose(stream, error)
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        try:
            os.close(self._files.pop(stream))
        except OSError as error:  # as of a file server, which writes late
            self._lose(stream, error)

    def _lose(self, stream: Stream, error: OSError) -> None:
        clause = f"the rest of {stream} is dropped: {reason_of(error)}"
        log.warning("%s", clause)
        self.lost.append(clause)


def _opened(path: str) -> int:
    """Open a file for output.  A FIFO or socket is refused: its reader could hold up all other jobs."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISCHR(kind)):
        os.close(descriptor)
        raise OSError(None, "it is not a file", path)
    os.set_blocking(descriptor, True)
    return descriptor
