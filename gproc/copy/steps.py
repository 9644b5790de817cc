"""A tree as a sequence of steps, told apart from the bytes of its files.  Pure.

    frame:  length u32 | kind u8 | payload          big-endian
    STEP:   one Step, msgpack
    DATA:   bytes of the file that the last Leaf began

Folder and Leave enclose what lies in a directory, so that a step names one component and never a path: no stream
can speak of a place above the one where it began.  In a stream each Leaf is followed by its bytes and by Whole or
Torn; in an index it says where its content lies in the bundle, and nothing follows.  End comes last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, Final, Union

import msgspec

from gproc.errors import PeerError

ITSELF: Final = b"."
"""Name of a Folder whose content goes where the copy goes, and not into a directory of its name: `cp -a src/.`."""

INDEX: Final = b"index"
"""The file of a bundle that holds the steps; a content's name is a digest in hexadecimal, so never this."""

NAME_BYTES_MAX: Final = 255
"""NAME_MAX of Linux: limits.h."""

PATH_BYTES_MAX: Final = 4095
"""PATH_MAX without the final NUL, which is also the longest symlink: symlink(7)."""

DEPTH_MAX: Final = 256
"""Folders in one another.  PATH_MAX allows 2,048; a reader holds a descriptor for each, of 1,024 (RLIMIT_NOFILE)."""

DATA_BYTES: Final = 64 << 10
"""Data in one frame: a pipe's capacity, pipe(7), and so what one read of the slave's can take."""

STEP_BYTES_MAX: Final = 8 << 10
"""A Link has a name and a target, 4.3 KiB; nothing is longer."""

_STEP: Final = 1
_DATA: Final = 2
_HEADER: Final = struct.Struct("!IB")

ModeBits = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
UserNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFE)]
"""Without 0xFFFFFFFF, which chown(2) reads as "no change"."""
Nanoseconds = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
OFFSET_MAX: Final = 2**63 - 1
"""Of loff_t: pread(2)."""
Size = Annotated[int, msgspec.Meta(ge=0, le=OFFSET_MAX)]


class Folder(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A directory; the steps up to its Leave are about what lies in it.  ITSELF only where nothing encloses it."""

    name: bytes
    mode: ModeBits
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds

    def __post_init__(self) -> None:
        if self.name != ITSELF:
            check_name(self.name)


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The end of the innermost Folder."""


class SymlinkStep(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A symbolic link.  Its target is text: nothing here ever follows it."""

    name: bytes
    target: bytes
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 0 < len(self.target) <= PATH_BYTES_MAX or b"\0" in self.target:
            raise ValueError(f"{self.name!r} is a link to nothing that can be")


class Leaf(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A regular file.

    content, offset: in an index, the file of the bundle that has its bytes, and where they begin in it; b"" and 0 in a
    stream.
    """

    name: bytes
    mode: ModeBits
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds
    size_bytes: Size
    content: bytes = b""
    offset: Size = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.content:
            check_name(self.content)
        if self.offset + self.size_bytes > OFFSET_MAX:
            raise ValueError(f"{self.name!r} has its content where no file reaches")


class Whole(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """All bytes of the last Leaf have been sent."""


class Torn(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The last Leaf could not be read to its end: what was sent of it is worth nothing."""


class End(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Nothing follows."""


Step = Union[Folder, Leave, SymlinkStep, Leaf, Whole, Torn, End]  # noqa: UP007 - msgspec wants it so on 3.11

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Step] = msgspec.msgpack.Decoder(Step)


def check_name(name: bytes) -> None:
    """Raises: ValueError where it is no name of something inside a directory."""
    if not 0 < len(name) <= NAME_BYTES_MAX or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError(f"{name[:NAME_BYTES_MAX]!r} is not the name of a file")


def step_frame(step: Step) -> bytes:
    payload = _encoder.encode(step)
    return _HEADER.pack(len(payload), _STEP) + payload


def data_header(length: int) -> bytes:
    """What stands before so many bytes of a file."""
    return _HEADER.pack(length, _DATA)


class StepReader:
    """Bytes in, steps and data out.  Data is passed on as it comes: no more than one step waits in memory."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._data_left = 0

    def feed(self, data: bytes | memoryview) -> Iterator[Step | memoryview]:
        """What these bytes complete, in order; a memoryview is only good until the next one is asked for.

        Raises: PeerError for what is no stream of steps; it cannot go on from there.
        """
        view = memoryview(data)
        while view:
            if self._data_left:
                piece, view = view[: self._data_left], view[self._data_left :]
                self._data_left -= len(piece)
                yield piece
                continue
            if not self._waiting and (length := _whole_step(view)):
                frame, view = view[:length], view[length:]
                yield _decoded(frame[_HEADER.size :])
                continue
            missing = self._wanted() - len(self._waiting)
            self._waiting += view[:missing]
            view = view[missing:]
            if len(self._waiting) < _HEADER.size or len(self._waiting) < self._wanted():
                continue
            length, kind = _HEADER.unpack_from(self._waiting)
            payload = bytes(self._waiting[_HEADER.size :])
            self._waiting.clear()
            if kind == _DATA:
                self._data_left = length
            else:
                yield _decoded(payload)

    def _wanted(self) -> int:
        """How many bytes a frame's beginning has that must be here before it means anything."""
        if len(self._waiting) < _HEADER.size:
            return _HEADER.size
        length, kind = _HEADER.unpack_from(self._waiting)
        if kind == _DATA and 0 < length <= DATA_BYTES:
            return _HEADER.size
        if kind != _STEP or not 0 < length <= STEP_BYTES_MAX:
            raise PeerError(f"no stream of files: a frame of kind {kind} and {length} bytes")
        return _HEADER.size + int(length)


def _whole_step(view: memoryview) -> int:
    """Length of the frame that begins here, where it is a step and all of it is here; 0 for all else."""
    if len(view) < _HEADER.size:
        return 0
    length, kind = _HEADER.unpack_from(view)
    if kind != _STEP or not 0 < length <= min(STEP_BYTES_MAX, len(view) - _HEADER.size):
        return 0
    return _HEADER.size + int(length)


def _decoded(payload: bytes | memoryview) -> Step:
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise PeerError(f"no stream of files: {error}") from error
