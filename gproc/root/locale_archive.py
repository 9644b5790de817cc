"""glibc's locale-archive, taken apart: without a view it is not at its own path, and LOCPATH leads to directories only.

Pure.  A user made the file, so nothing in it is trusted.  Source: locale/locarchive.h of glibc.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

ARCHIVE: Final = b"/usr/lib/locale/locale-archive"

ARCHIVE_BYTES_MAX: Final = 32 << 20
"""A larger one is left as it is; `bundle/locale_files.py` sends none above 16 MiB."""

_MAGIC: Final = 0xDE020109
_NAMES_MAX: Final = 100
_NAME: Final = re.compile(rb"[\w.@-]{1,60}")
_HEAD: Final = struct.Struct("=14I")
_ENTRY: Final = struct.Struct("=3I")
_RECORD: Final = struct.Struct("=27I")
_CATEGORIES: Final = {
    0: b"LC_CTYPE", 1: b"LC_NUMERIC", 2: b"LC_TIME", 3: b"LC_COLLATE", 4: b"LC_MONETARY",
    5: b"LC_MESSAGES/SYS_LC_MESSAGES", 7: b"LC_PAPER", 8: b"LC_NAME", 9: b"LC_ADDRESS", 10: b"LC_TELEPHONE",
    11: b"LC_MEASUREMENT", 12: b"LC_IDENTIFICATION",
}  # fmt: skip
"""By number: <bits/locale.h>."""


class ArchivePart(NamedTuple):
    """A part of an archive: what a file contains.  Files of several locales may have one and the same."""

    offset: int
    length: int


def files_in(archive: bytes) -> Iterator[tuple[bytes, ArchivePart]]:
    """Each locale's files, as NAME/CATEGORY and content; nothing if it is no archive, or as far as it is not broken.

    Together the different contents are no longer than the archive.
    """
    if len(archive) < _HEAD.size:
        return
    magic, _, at, _, size, *_ = _HEAD.unpack_from(archive)
    seen: set[ArchivePart] = set()
    named: set[bytes] = set()
    left_bytes = len(archive)
    if magic != _MAGIC or at + size * _ENTRY.size > len(archive):
        return
    for index in range(size):
        _, name_at, record_at = _ENTRY.unpack_from(archive, at + index * _ENTRY.size)
        name = _NAME.match(archive, name_at) if name_at else None
        if name is None or name[0].startswith(b".") or name[0] in named or record_at + _RECORD.size > len(archive):
            continue
        if len(named) == _NAMES_MAX:
            return
        named.add(name[0])
        _, *extents = _RECORD.unpack_from(archive, record_at)
        for number, category in _CATEGORIES.items():
            extent = ArchivePart(*extents[2 * number : 2 * number + 2])
            if extent not in seen:
                left_bytes -= extent.length
                seen.add(extent)
            if left_bytes < 0:
                return
            if extent.length and sum(extent) <= len(archive):
                yield name[0] + b"/" + category, extent
