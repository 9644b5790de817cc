"""A task of a list.  Pure."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """number: from 1, in the order of the list.  line: where in the list it stands.  values: for the command."""

    number: int
    line: int
    values: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.values))
