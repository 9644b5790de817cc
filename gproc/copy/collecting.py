"""On a node, as the caller: what lies at a path, as a stream of steps with the bytes in between."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from gproc.copy.shown import shown
from gproc.copy.source import walk
from gproc.copy.steps import DATA_BYTES, End, Leaf, Torn, Whole, data_header, step_frame
from gproc.copy.writer import Complain

SMALL_BYTES: Final = DATA_BYTES
"""A file up to this size is read whole first."""

SMALL_READ_BYTES: Final = 16 << 20
"""And must end before this one: /proc/kallsyms says that it has 0 bytes, and has 10 MB."""


def collect(path: bytes, to: int, complain: Complain) -> None:
    """Write the stream to the descriptor `to`.  Raises: BrokenPipeError where nobody reads it."""

    def missed(at: bytes, error: OSError) -> None:
        complain(f"{shown(at)}: {error.strerror or error}")

    out = _Out(to)
    for seen in walk(path, missed):
        if not isinstance(seen.step, Leaf):
            out.write(step_frame(seen.step))
            continue
        try:
            if seen.step.size_bytes <= SMALL_BYTES:
                _send_small(seen.step, seen.handle, out)
            else:
                _send(seen.step, seen.handle, out)
        except _Unread as unread:
            complain(f"{shown(seen.path)}: {unread}")
    out.write(step_frame(End()))
    out.flush()


class _Unread(Exception):
    """A file could not be read, or not to its end; an error of the stream itself is none of these."""


class _Out:
    """A blocking descriptor, written to in pieces of about a pipe's capacity."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._waiting = bytearray()

    def write(self, data: bytes | bytearray) -> None:
        self._waiting += data
        if len(self._waiting) >= DATA_BYTES:
            self.flush()

    def data(self, data: bytes | bytearray) -> None:
        self.write(data_header(len(data)))
        self.write(data)

    def flush(self) -> None:
        with memoryview(self._waiting) as view:
            done = 0
            while done < len(view):
                done += os.write(self._to, view[done:])
        self._waiting.clear()


def _send_small(leaf: Leaf, handle: int, out: _Out) -> None:
    """Read before its size is said: files of /proc and /sys have another one than stat(2) gives (proc(5))."""
    data = bytearray()
    while piece := _read(handle, DATA_BYTES):
        data += piece
        if len(data) > SMALL_READ_BYTES:
            raise _Unread("grows while it is being read")
    out.write(step_frame(msgspec.structs.replace(leaf, size_bytes=len(data))))
    for at in range(0, len(data), DATA_BYTES):
        out.data(data[at : at + DATA_BYTES])
    out.write(step_frame(Whole()))


def _send(leaf: Leaf, handle: int, out: _Out) -> None:
    """As many bytes as it had; what is appended meanwhile is not sent."""
    out.write(step_frame(leaf))
    left = leaf.size_bytes
    try:
        while left > 0:
            data = _read(handle, min(left, DATA_BYTES))
            if not data:
                raise _Unread("became shorter while it was being read")
            out.data(data)
            left -= len(data)
    except _Unread:
        out.write(step_frame(Torn()))
        raise
    out.write(step_frame(Whole()))


def _read(handle: int, size: int) -> bytes:
    try:
        return os.read(handle, size)
    except OSError as error:
        raise _Unread(error.strerror) from error
