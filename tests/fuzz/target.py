"""A decoder to fuzz."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """A decoder.  promised: the errors that it may raise.  seeds: genuine inputs, from which a fuzzer makes others."""

    decode: Callable[[bytes], object]
    promised: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]


class OneFile:
    """A system whose files are all the same: a `gproc.bundle.image.Image` for decoders that read one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def content(self, _path: str, _max_bytes: int) -> bytes:
        return self._data

    def glance(self, _path: str) -> None:
        """No links."""

    def is_directory(self, path: str) -> bool:
        return path.count("/") < 6
