"""The list of `gproc map`: lines of a file or a pipe, read as they are handed out, or words of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, Protocol

from gproc.errors import GprocError
from gproc.request.template import VALUE_BYTES_MAX

READ_BYTES: Final = 64 << 10


class BadLine(GprocError):
    """A line that cannot be an argument."""


class TaskList(Protocol):
    """noun: what one entry is called.  empty: how many entries were left out because they are empty."""

    noun: str
    empty: int

    @property
    def source(self) -> int | None:
        """The descriptor that must be read before there is another entry; None: there is one, or no more will come."""

    @property
    def ended(self) -> bool:
        """Whether all entries were taken."""

    def read(self) -> None:
        """Read once from `source`.  Raises: GprocError."""

    def take(self) -> tuple[int, bytes] | None:
        """The next entry and its number, from 1; None if it is not here yet.  Raises: BadLine."""


def left_out(entries: TaskList) -> str:
    return f"{entries.empty} empty line{'s were' if entries.empty > 1 else ' was'} left out"


class ListedWords:
    """ListedWords behind `:::`."""

    noun = "argument"
    empty = 0
    source = None

    def __init__(self, words: Sequence[str]) -> None:
        self._words = iter([os.fsencode(word) for word in words])
        self._left = len(words)
        self._number = 0

    @property
    def ended(self) -> bool:
        return not self._left

    def read(self) -> None:
        raise AssertionError("words are here from the beginning")

    def take(self) -> tuple[int, bytes] | None:
        if not self._left:
            return None
        self._left -= 1
        self._number += 1
        return self._number, next(self._words)


class ListedLines:
    """Lines that end with a newline, or with a zero byte.  Empty ones are left out, but counted as lines."""

    noun = "line"

    def __init__(self, descriptor: int, name: str, *, null: bool = False) -> None:
        """name: of the file, for messages."""
        self.empty = 0
        self._descriptor = descriptor
        self._name = name
        self._end = b"\0" if null else b"\n"
        self._buffer = bytearray()
        self._begin = 0
        self._searched = 0
        self._is_read = False
        self._number = 0

    @property
    def source(self) -> int | None:
        return None if self._is_read or self._buffer.find(self._end, self._searched) >= 0 else self._descriptor

    @property
    def ended(self) -> bool:
        return self._is_read and self._begin >= len(self._buffer)

    def read(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise GprocError(f"cannot read {self._name}: {error.strerror}") from error
        del self._buffer[: self._begin]
        self._searched = max(0, self._searched - self._begin)
        self._begin = 0
        self._buffer += data
        self._is_read = not data

    def take(self) -> tuple[int, bytes] | None:
        while True:
            end = self._buffer.find(self._end, max(self._begin, self._searched))
            if end < 0:
                self._searched = len(self._buffer)
                self._check_length(len(self._buffer) - self._begin, self._number + 1)
                if not self._is_read or self._begin >= len(self._buffer):
                    return None
                end = len(self._buffer)
            value = bytes(self._buffer[self._begin : end])
            self._begin = self._searched = end + 1
            self._number += 1
            self._check_length(len(value), self._number)
            if b"\0" in value:
                hint = "" if self._end == b"\0" else "; if zero bytes end the entries of the list, add -0"
                raise BadLine(f"line {self._number} of the list has a zero byte, which no argument can have{hint}")
            if value:
                return self._number, value
            self.empty += 1

    def _check_length(self, size: int, number: int) -> None:
        if size > VALUE_BYTES_MAX:
            most = f"longer than {VALUE_BYTES_MAX} bytes, the most that an argument can have"
            raise BadLine(f"line {number} of the list is {most}")
