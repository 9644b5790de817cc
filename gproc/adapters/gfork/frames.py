"""What goes over a link: a header of 24 bytes, and for data a body.  Pure.

The header is a C structure in the machine's own order, as Globus' gfork has it on a 64-bit machine: the body's size
(8 bytes), the sender's pid (4), the receiver's (4), the type (4), and 4 bytes of padding.  docs/gfork.md describes it.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from gproc.errors import PeerError

_HEADER: Final = struct.Struct("=QiiI4x")
HEADER_BYTES: Final = _HEADER.size

OPENED: Final = ord("O")
CLOSED: Final = ord("C")
DATA: Final = ord("D")

MAX_BODY: Final = 1 << 20
"""Bytes.  A body is kept in memory until its receivers have taken it.  The longest that GridFTP sends has 254 bytes for
each backend: this is room for four thousand of them."""

ALL: Final = -1
"""As receiver: of a master, all children; of a child, all masters."""

READ_VARIABLE: Final = "GFORK_CHILD_READ_ENV"
WRITE_VARIABLE: Final = "GFORK_CHILD_WRITE_ENV"
CONTACT_VARIABLE: Final = "GFORK_CHILD_CS_ENV"
INSTANCES_VARIABLE: Final = "GFORK_CHILD_INSTANCE_ENV"


class BrokenLink(PeerError):
    """What came over a link is not what a master or a child may send."""


class Frame(msgspec.Struct, frozen=True):
    """from_pid: gfork itself fills it in.  body: of DATA only."""

    type: int
    from_pid: int
    to_pid: int
    body: bytes = b""

    def encode(self) -> bytes:
        return _HEADER.pack(len(self.body), self.from_pid, self.to_pid, self.type) + self.body


class LinkReader:
    """Bytes in, frames out, cut anywhere.  Holds at most one body and what was fed with its end."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """Raises: BrokenLink for an unknown type, or a body above MAX_BODY; then nothing more can be read."""
        self._held += data
        frames: list[Frame] = []
        start = 0
        while len(self._held) - start >= HEADER_BYTES:
            size, from_pid, to_pid, kind = _HEADER.unpack_from(self._held, start)
            if kind not in (OPENED, CLOSED, DATA):
                raise BrokenLink(f"a message of type {kind:#x}")
            if kind != DATA:
                size = 0
            if size > MAX_BODY:
                raise BrokenLink(f"a message of {size:,} bytes; the limit is {MAX_BODY:,}")
            end = start + HEADER_BYTES + size
            if len(self._held) < end:
                break
            frames.append(Frame(kind, from_pid, to_pid, bytes(self._held[start + HEADER_BYTES : end])))
            start = end
        del self._held[:start]
        return frames
