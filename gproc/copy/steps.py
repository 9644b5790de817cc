"""A tree as a sequence of steps, separate from the bytes of its files.  Pure.

    frame:  length u32 | kind u8 | payload          big-endian
    STEP:   one Step, msgpack
    DATA:   bytes of the file that the last Leaf began

Folder and Leave enclose the content of a directory.  A step names one component and never a path, so no stream can name
a place above the one where it began.  A file with several names has a number, by which HardLink refers to it.

In a stream (`gproc get`), DATA and Hole follow each Leaf, together as long as the file, and then Whole or Torn.
In an index (`gproc cp`), a Leaf says where its content is in the bundle, and nothing follows.  A file with holes is the
exception: its Leaf is `sparse`, and Extent and Hole follow, together as long as the file, and then Whole.
End comes last.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import Annotated, Final, Union

import msgspec

from gproc.content.manifest import NAME_BYTES_MAX, PATH_BYTES_MAX, Nanoseconds, UserNumber
from gproc.errors import PeerError
from gproc.shown import shown

ITSELF: Final = b"."
"""The name of a Folder whose content goes to the copy's own place, and not into a directory there: `cp -a src/.`."""

INDEX: Final = b"index"
"""The file of a bundle that holds the steps.  A content's name is a digest in hexadecimal, so never this."""

DEPTH_MAX: Final = 256
"""The most folders inside each other.  PATH_MAX allows 2,048; a reader needs a descriptor for each, and has 1,024."""

DATA_BYTES: Final = 64 << 10
"""Data in one frame: a pipe's capacity, pipe(7), and so what one read of the slave's can take."""

ATTRIBUTE_BYTES_MAX: Final = 64 << 10
"""One value of an extended attribute: XATTR_SIZE_MAX, linux/limits.h."""

ATTRIBUTES_BYTES_MAX: Final = 128 << 10
"""All attributes of one file, names and values: two of the largest.  ext4 has room for about 4 KiB."""

STEP_BYTES_MAX: Final = ATTRIBUTES_BYTES_MAX + (16 << 10)
"""The most bytes of a step: the attributes themselves, two paths, and the heads of 1,000 attributes."""

NUMBERED_FROM_NODE_MAX: Final = 1 << 16
NUMBERED_MAX: Final = 1 << 20
"""The most files of which further names may be expected at a time, in a stream or an index: each takes 350 bytes."""

LINE_BYTES_MAX: Final = 8 << 10
"""A line of text.  A path of PATH_MAX bytes, all of them escaped, would have 16 KiB: it is cut."""

ATTRIBUTES_MAX: Final = 1000
"""Xattrs of one file: each has a head of up to 8 bytes in msgpack."""

_STEP: Final = 1
_DATA: Final = 2
_HEADER: Final = struct.Struct("!IB")

ModeBits = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
OFFSET_MAX: Final = 2**63 - 1
"""The greatest value of loff_t: pread(2)."""
Size = Annotated[int, msgspec.Meta(ge=0, le=OFFSET_MAX)]
Length = Annotated[int, msgspec.Meta(ge=1, le=OFFSET_MAX)]
LinkNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""The number of a file with several names, from 1 on; 0: the file has one name."""
DeviceNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]

Xattrs = tuple[tuple[bytes, bytes], ...]
"""Extended attributes, as (name, value): xattr(7).  An access list is one of them."""


class Folder(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A directory.  The steps up to its Leave are about its content.  It can be ITSELF only if nothing encloses it."""

    name: bytes
    mode: ModeBits
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds

    def __post_init__(self) -> None:
        if self.name != ITSELF:
            check_name(self.name)


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The end of the innermost Folder, with the directory's attributes.

    They come last because a default access list would change the files that are made in the directory: acl(5).
    """

    attributes: Xattrs = ()

    def __post_init__(self) -> None:
        check_attributes(self.attributes)


class SymlinkStep(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A symbolic link.  Its target is text: nothing here ever follows it."""

    name: bytes
    target: bytes
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds
    attributes: Xattrs = ()
    number: LinkNumber = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        check_attributes(self.attributes)
        if not 0 < len(self.target) <= PATH_BYTES_MAX or b"\0" in self.target:
            raise ValueError(f"{shown(self.name)} is a link with an impossible target")


class Leaf(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A regular file.

    content, offset: in an index, the file of the bundle that has its bytes, and where they begin in it; b"" and 0 in a
    stream and for a sparse file.
    """

    name: bytes
    mode: ModeBits
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds
    size_bytes: Size
    content: bytes = b""
    offset: Size = 0
    attributes: Xattrs = ()
    sparse: bool = False
    number: LinkNumber = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        check_attributes(self.attributes)
        _check_content(self.content, self.offset, self.size_bytes)


class Whole(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """All bytes of the last Leaf have been sent."""


class Torn(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The last Leaf could not be read to its end: the bytes that were sent of it are dropped."""


class End(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Nothing follows."""


class Hole(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """This many bytes of the last Leaf are a hole: they read as zeros and take no space."""

    size_bytes: Length


class Extent(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """In an index: this many bytes of the last Leaf are in the bundle's file `content`, from `offset` on."""

    size_bytes: Length
    content: bytes
    offset: Size

    def __post_init__(self) -> None:
        check_name(self.content)
        _check_content(self.content, self.offset, self.size_bytes)


class Same(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """In a stream: the caller has said that it has the last Leaf's bytes (`gproc.copy.known`).  None follow."""


class Special(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """A FIFO, a socket or a device.

    kind: S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK; major, minor: of a device, else 0: inode(7), makedev(3).
    """

    name: bytes
    kind: int
    mode: ModeBits
    uid: UserNumber
    gid: UserNumber
    mtime_ns: Nanoseconds
    major: DeviceNumber = 0
    minor: DeviceNumber = 0
    attributes: Xattrs = ()
    number: LinkNumber = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        check_attributes(self.attributes)
        if self.kind not in SPECIAL_KINDS:
            raise ValueError(f"{shown(self.name)} is of a kind that no file has")


class HardLink(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Another name of the file that came with this number.  last: no further name of it will come."""

    name: bytes
    number: LinkNumber
    last: bool

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.number:
            raise ValueError(f"{shown(self.name)} is another name of a file without a number")


class NotSent(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """In a stream: a line about a file that could not be read."""

    line: Annotated[bytes, msgspec.Meta(max_length=LINE_BYTES_MAX)]


Step = Union[  # noqa: UP007 - msgspec wants it so on 3.11
    Folder, Leave, SymlinkStep, Leaf, Whole, Torn, End, Hole, Extent, Special, HardLink, Same, NotSent
]

SPECIAL_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
"""The kinds of Special, in words."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Step] = msgspec.msgpack.Decoder(Step)


def check_name(name: bytes) -> None:
    """Raises: ValueError if it is not the name of something inside a directory."""
    if not 0 < len(name) <= NAME_BYTES_MAX or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError(f"{shown(name[:NAME_BYTES_MAX])} is not the name of a file")


def check_attributes(attributes: Xattrs) -> None:
    """Raises: ValueError if the kernel would not take them, or they are too many for one step."""
    if not attributes:
        return
    for name, value in attributes:
        if not 0 < len(name) <= NAME_BYTES_MAX or b"\0" in name or len(value) > ATTRIBUTE_BYTES_MAX:
            raise ValueError(f"{shown(name[:NAME_BYTES_MAX])} is not an extended attribute")
    if len(attributes) > ATTRIBUTES_MAX or attributes_bytes(attributes) > ATTRIBUTES_BYTES_MAX:
        raise ValueError(f"more than {ATTRIBUTES_MAX} attributes or {ATTRIBUTES_BYTES_MAX} bytes of them")


def attributes_bytes(attributes: Xattrs) -> int:
    return sum(len(name) + len(value) for name, value in attributes)


def _check_content(content: bytes, offset: int, size_bytes: int) -> None:
    if content:
        check_name(content)
    if offset + size_bytes > OFFSET_MAX:
        raise ValueError(f"{shown(content)} is used beyond the largest offset of a file")


def step_frame(step: Step) -> bytes:
    payload = _encoder.encode(step)
    return _HEADER.pack(len(payload), _STEP) + payload


def not_sent(line: str) -> NotSent:
    return NotSent(line.encode(errors="backslashreplace")[:LINE_BYTES_MAX])


def data_header(length: int) -> bytes:
    """The header of a DATA frame of `length` bytes."""
    return _HEADER.pack(length, _DATA)


class StepReader:
    """Bytes go in, steps and data come out.  Data is passed on as it comes: at most one step waits in memory."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._data_left = 0

    def feed(self, data: bytes | memoryview) -> Iterator[Step | memoryview]:
        """Yield the steps and data that these bytes complete, in order.  A memoryview is valid until the next item.

        Raises: PeerError if this is no stream of steps.  After that, the reader cannot go on.
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
        """How many bytes of the frame must be here before it can be read: its header, or all of a step."""
        if len(self._waiting) < _HEADER.size:
            return _HEADER.size
        length, kind = _HEADER.unpack_from(self._waiting)
        if kind == _DATA and 0 < length <= DATA_BYTES:
            return _HEADER.size
        if kind != _STEP or not 0 < length <= STEP_BYTES_MAX:
            raise PeerError(f"this is no stream of files: it has a frame of kind {kind} and {length} bytes")
        return _HEADER.size + int(length)


def _whole_step(view: memoryview) -> int:
    """The length of the frame that begins here, if it is a step and complete; else 0."""
    if len(view) < _HEADER.size:
        return 0
    length, kind = _HEADER.unpack_from(view)
    if kind != _STEP or not 0 < length <= min(STEP_BYTES_MAX, len(view) - _HEADER.size):
        return 0
    return _HEADER.size + int(length)


def _decoded(payload: bytes | memoryview) -> Step:
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"this is no stream of files: {error}") from error
