"""An ELF file without what no loader reads: the section table, symbols for linkers and debuggers.  Pure.

What is loaded stands in the program headers.  Everything behind the last byte that they name goes: of a Python that was
built with -g two thirds of each extension module.
"""

from __future__ import annotations

import struct
from typing import Final

_MAGIC: Final = b"\x7fELF\x02\x01"
"""64 bits, little-endian: the machines that the helper knows."""
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")


def slim(content: bytes) -> bytes:
    """The file without its end; as it is if it is no such ELF file, or a broken one."""
    if not content.startswith(_MAGIC) or len(content) < _HEADER.size:
        return content
    fields = list(_HEADER.unpack_from(content))
    at, size, count = fields[5], fields[9], fields[10]
    end = at + size * count
    if size != _PROGRAM_HEADER.size or not count or end > len(content):
        return content
    for index in range(count):
        header = _PROGRAM_HEADER.unpack_from(content, at + index * size)
        end = max(end, header[2] + header[5])
    if end > len(content):
        return content
    fields[6] = fields[12] = fields[13] = 0  # e_shoff, e_shnum, e_shstrndx
    return _HEADER.pack(*fields) + content[_HEADER.size : end]
