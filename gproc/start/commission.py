"""What a slave is told by the front end that starts it, in its secret: its keys, its place and its parent."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from gproc.locales import Parent
from gproc.trust.carried import Credentials

STARTED_WORD: Final = "__started"
"""The mode of `gproc` that reads a commission, cli/main.py; no person types it."""

ANSWER: Final = "gproc-start "
"""The beginning of a host's answers: a login shell may say something of its own."""

SECRET_BYTES: Final = 8192
"""A commission has 3 KB: two certificates and a key."""

_LENGTH: Final = struct.Struct("<I")


class Commission(msgspec.Struct, frozen=True):
    """id: below the parent.  address: where others dial this node; "" if it is the one that its parent sees.

    bin_root, debug: as the switches of `gproc s`.
    """

    credentials: Credentials
    parent: Parent
    id: int
    address: str
    cmd_port: int
    bin_root: str
    debug: int = 0

    def encoded(self) -> bytes:
        """With its length before it, and filled up: the bootstrap is told a length before the parent is known."""
        content = msgspec.msgpack.encode(self)
        return (_LENGTH.pack(len(content)) + content).ljust(SECRET_BYTES, b"\0")

    @classmethod
    def decoded(cls, content: bytes) -> Commission:
        """Raises: ValueError."""
        if len(content) != SECRET_BYTES:
            raise ValueError(f"{len(content)} bytes came, not {SECRET_BYTES}")
        (length,) = _LENGTH.unpack_from(content)
        return msgspec.msgpack.decode(content[_LENGTH.size : _LENGTH.size + length], type=cls)
