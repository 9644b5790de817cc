"""Standard input on its way to the master."""

from __future__ import annotations

import os

from gproc.client.session import STDIN_BYTES
from gproc.descriptors import PIPE_BYTES, widen


class InputBuffer:
    """What was read and is not passed on yet, in one of two blocks; the other one may still be on its way.

    The same memory is used again and again.  With new memory for each block, a third of what a client did for a large
    input was to get pages from the kernel, which clears each of them.
    """

    def __init__(self) -> None:
        self._filling = memoryview(bytearray(STDIN_BYTES))
        self._passed = memoryview(bytearray(STDIN_BYTES))
        self._size = 0
        self._widened = False

    def __len__(self) -> int:
        return self._size

    def read(self, handle: int, most: int) -> int:
        """Read at most so many bytes.  Returns their number; 0 at the end.  Raises: OSError."""
        count = os.readv(handle, [self._filling[self._size : self._size + most]])
        self._size += count
        if count >= PIPE_BYTES and not self._widened:
            self._widened = True
            widen(handle, STDIN_BYTES)
        return count

    def add(self, data: bytes) -> None:
        self._filling[self._size : self._size + len(data)] = data
        self._size += len(data)

    def take(self) -> memoryview:
        """Take all of it.  It is valid until the next `take`: what was taken before must be sent by then."""
        taken = self._filling[: self._size]
        self._filling, self._passed = self._passed, self._filling
        self._size = 0
        return taken
