"""A task of a list.  Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

VALUE_BYTES: Final = 40
"""What each value but the first costs beside its text, in memory and in an order: a task may have thousands."""


class Task(NamedTuple):
    """number: from 1, in the order of the list.  line: where in the list it stands.  values: for the command."""

    number: int
    line: int
    values: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.values)) + VALUE_BYTES * max(0, len(self.values) - 1)
