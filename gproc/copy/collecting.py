"""On a node, as the caller: the files at a path, as a stream of steps with the bytes in between."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from gproc.bundle.unsized import SMALL_BYTES, read_small
from gproc.content.holes import Segment, segments
from gproc.content.reading import read_at
from gproc.copy import attributes
from gproc.copy.known import Known
from gproc.copy.source import Missed, Seen, TreeReader
from gproc.copy.steps import (
    DATA_BYTES,
    ITSELF,
    NUMBERED_FROM_NODE_MAX,
    End,
    Folder,
    Hole,
    Leaf,
    Leave,
    Same,
    Step,
    Torn,
    Whole,
    data_header,
    step_frame,
)  # fmt: skip
from gproc.copy.writer import Complain
from gproc.descriptors import write_all
from gproc.shown import shown


def collect(path: bytes, to: int, complain: Complain, known: Known) -> None:
    """Write the stream to the descriptor `to`, without the bytes that the caller has.

    Raises: BrokenPipeError if it has no reader.
    """

    def missed(at: bytes, error: OSError) -> None:
        complain(f"{shown(at)}: {error.strerror or error}")

    source = TreeReader(missed, kinds=attributes.HARMLESS, special=False, numbered_max=NUMBERED_FROM_NODE_MAX)
    send(source.walk(path), source, Out(to), missed, known)


def send(steps: Iterator[Seen], source: TreeReader, out: Out, missed: Missed, known: Known) -> None:
    """Write the steps of `source`, with the bytes of files, and End.  Raises: BrokenPipeError."""
    folders: list[bytes] = []
    for seen in steps:
        if isinstance(seen.step, Folder):
            folders.append(seen.step.name)
        elif isinstance(seen.step, Leave):
            folders.pop()
        if not isinstance(seen.step, Leaf):
            out.write(step_frame(seen.step))
            continue
        at = b"/".join(name for name in (*folders, seen.step.name) if name != ITSELF)
        if known.has(at, seen.step.size_bytes, seen.step.mtime_ns):
            out.write(step_frame(seen.step))
            out.write(step_frame(Same()))
            continue
        try:
            _send_file(seen.step, seen.handle, out)
        except _Unread as unread:
            source.forget()
            missed(seen.path, unread.error)
    out.end()


class _Unread(Exception):
    """A file could not be read, or not to its end.  Errors of the stream itself are others."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class Out:
    """A blocking descriptor, written to in pieces of about a pipe's capacity."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._waiting = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self._waiting += data
        if len(self._waiting) >= DATA_BYTES:
            self.flush()

    def step(self, step: Step) -> None:
        self.write(step_frame(step))

    def end(self) -> None:
        self.step(End())
        self.flush()

    def data(self, data: memoryview) -> None:
        self._waiting += data_header(len(data))
        if len(data) < DATA_BYTES:
            self.write(data)
            return
        # A piece as long as the pipe is not copied into the buffer first.
        done = os.writev(self._to, (self._waiting, data))
        left = done - len(self._waiting)
        if left < 0:
            del self._waiting[:done]
            self.flush()
            left = 0
        self._waiting.clear()
        self._write(data[left:])

    def flush(self) -> None:
        with memoryview(self._waiting) as view:
            self._write(view)
        self._waiting.clear()

    def _write(self, view: memoryview) -> None:
        write_all(self._to, view)


def _send_file(leaf: Leaf, handle: int, out: Out) -> None:
    """Send a file: as many bytes as it had when it was opened.  Bytes that are appended meanwhile are not sent."""
    try:
        parts = segments(handle, leaf.size_bytes) if leaf.sparse else None
        data = read_small(handle) if parts is None and leaf.size_bytes <= SMALL_BYTES else None
    except OSError as error:
        raise _Unread(error) from error
    if data is not None:
        out.write(step_frame(msgspec.structs.replace(leaf, size_bytes=len(data))))
        for at in range(0, len(data), DATA_BYTES):
            out.data(memoryview(data)[at : at + DATA_BYTES])
    else:
        out.write(step_frame(leaf))
        try:
            for part in parts or [Segment(0, leaf.size_bytes, False)]:
                _send_segment(part, handle, out)
        except _Unread:
            out.write(step_frame(Torn()))
            raise
    out.write(step_frame(Whole()))


def _send_segment(part: Segment, handle: int, out: Out) -> None:
    if part.hole:
        out.write(step_frame(Hole(part.length)))
        return
    end = part.offset + part.length
    for at in range(part.offset, end, DATA_BYTES):
        try:
            data = read_at(handle, min(DATA_BYTES, end - at), at)
        except OSError as error:
            raise _Unread(error) from error
        out.data(memoryview(data))
