"""On a node, as the caller: what lies at a path, as a stream of steps with the bytes in between."""

from __future__ import annotations

import os

from gproc.copy.shown import shown
from gproc.copy.source import walk
from gproc.copy.steps import DATA_BYTES, End, Leaf, Torn, Whole, data_header, step_frame
from gproc.copy.writer import Complain


def collect(path: bytes, to: int, complain: Complain) -> None:
    """Write the stream to the descriptor `to`.  Raises: BrokenPipeError where nobody reads it."""

    def missed(at: bytes, error: OSError) -> None:
        complain(f"{shown(at)}: {error.strerror or error}")

    out = _Out(to)
    for seen in walk(path, missed):
        out.write(step_frame(seen.step))
        if isinstance(seen.step, Leaf):
            try:
                whole = _send(seen.handle, seen.step.size_bytes, out)
            except _Unread as unread:
                complain(f"{shown(seen.path)}: {unread}")
                whole = False
            else:
                if not whole:
                    complain(f"{shown(seen.path)}: became shorter while it was being read")
            out.write(step_frame(Whole() if whole else Torn()))
    out.write(step_frame(End()))
    out.flush()


class _Unread(Exception):
    """A file could not be read on; an error of the stream itself is none of these."""


class _Out:
    """A blocking descriptor, written to in pieces of about a pipe's capacity."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= DATA_BYTES:
            self.flush()

    def flush(self) -> None:
        with memoryview(self._waiting) as view:
            done = 0
            while done < len(view):
                done += os.write(self._to, view[done:])
        self._waiting.clear()


def _send(handle: int, size_bytes: int, out: _Out) -> bool:
    """The first `size_bytes` of a file; whether it has so many.  What is appended meanwhile is not sent."""
    left = size_bytes
    while left > 0:
        try:
            data = os.read(handle, min(left, DATA_BYTES))
        except OSError as error:
            raise _Unread(error.strerror) from error
        if not data:
            return False
        out.write(data_header(len(data)))
        out.write(data)
        left -= len(data)
    return True
