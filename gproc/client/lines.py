"""Makes whole lines of the output of many nodes, byte for byte.

A line is written when it is complete, so lines of two nodes never mix, unless one is longer than LINE_BYTES_MAX.  An
unfinished last line is written after all whole ones.  The output of a single node is written as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Final

LINE_MEMORY_BYTES: Final = 256 << 10
"""A longer unfinished line waits in a file.  So eighty nodes with a line of 10 MB each take 20 MB of memory."""

LINE_BYTES_MAX: Final = 16 << 20
"""A line that is longer is written in parts of at least this size: without an end it would fill the disk."""

COPY_BYTES: Final = 1 << 20


class Lines:
    """One output stream of a job.

    labels: the text before each line, by rank; None: output as it is.  An unfinished last line gets a newline only if
    lines are labelled: then the next label must begin a line.
    """

    def __init__(self, nodes: int, labels: list[bytes] | None) -> None:
        self._alone = nodes == 1 and labels is None
        self._labels = labels
        self._begun: dict[int, IO[bytes]] = {}

    def feed(self, rank: int, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Take output of a rank.  Yields what can be written now."""
        if self._alone:
            yield data
            return
        data = bytes(data)
        end = data.rfind(b"\n") + 1
        if end:
            whole = data[:end]
            if self._labels is not None:
                # If the beginning of the first line came earlier, its label stands before it already.
                label = self._labels[rank]
                whole = (b"" if rank in self._begun else label) + whole[:-1].replace(b"\n", b"\n" + label) + b"\n"
            yield from self._rest(rank)
            yield whole
        if end < len(data):
            begun = self._begun.get(rank)
            if begun is None:
                from tempfile import SpooledTemporaryFile  # 6 ms, and most programs end their lines

                begun = self._begun[rank] = SpooledTemporaryFile(max_size=LINE_MEMORY_BYTES)  # noqa: SIM115
            begun.write(data[end:])
            if begun.tell() >= LINE_BYTES_MAX:
                yield from self._rest(rank)
                if self._labels is not None:
                    yield b"\n"

    def finish(self) -> Iterator[bytes]:
        """The unfinished last lines, by rank."""
        for rank in sorted(self._begun):
            yield from self._rest(rank)
            if self._labels is not None:
                yield b"\n"

    def _rest(self, rank: int) -> Iterator[bytes]:
        """The beginning of the line that goes on now, with its label."""
        begun = self._begun.pop(rank, None)
        if begun is None:
            return
        with begun:
            if self._labels is not None:
                yield self._labels[rank]
            begun.seek(0)
            while piece := begun.read(COPY_BYTES):
                yield piece
