"""The parts of an ELF file that a dynamic linker reads, as a small ELF file of their own.

`elf` gives LIEF this excerpt and never the file, which may be truncated, corrupt or made to harm.  LIEF (1.0.0,
src/ELF/Parser.cpp) reads the whole file into memory (400 MB for 400 MB), follows hash tables, arrays and names to any
offset, prefers e_machine's class and byte order to the file's own, and silently leaves out parts that are truncated or
behind the 1,000th dynamic entry.  So this module checks every offset and size, and LIEF only interprets.

Format: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import os
import struct
from typing import Final

import msgspec

from gproc.errors import BundleError

MAGIC: Final = b"\x7fELF"

SEGMENTS_MAX: Final = 1024
"""Program headers; no file of a Debian machine has more than 14.  Only core dumps (PN_XNUM) and forgeries have more."""
DYNAMIC_MAX_BYTES: Final = 1 << 20
"""The dynamic section: 65,536 entries."""
ENTRIES_MAX: Final = 1000
"""Dynamic entries in an excerpt: LIEF reads no more.  gdb has the longest list of libraries here and needs 21."""
NAME_MAX_BYTES: Final = 1 << 17
"""One name or search path.  Package managers that give each library its own prefix write RPATHs of 10 KB and more."""
NAMES_MAX_BYTES: Final = 1 << 20
"""All names together.  Many entries may refer to one long name, and LIEF copies it for each."""
STRINGS_MAX_BYTES: Final = 64 << 20
"""The dynamic string table with the names of all symbols: libLLVM's has 3 MiB, node's 5."""

_ET_EXEC, _ET_DYN = 2, 3
_PT_NULL, _PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 0, 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
_DT_FLAGS_1: Final = 0x6FFFFFFB
_NAMES: Final = frozenset({_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH})


class BadElf(BundleError):
    """An ELF file that no linker can use."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Abi(msgspec.Struct, frozen=True):
    """Class, byte order and machine (e_machine): objects can be linked only if these are equal."""

    bits: int
    little: bool
    machine: int


class Excerpt(msgspec.Struct, frozen=True):
    """The parts of one file that say what it needs.

    image: an ELF file of the same class and byte order, with the interpreter's name, the whole string table, and the
        dynamic entries that name libraries and search paths.  It has no sections, and e_machine 0.
    entries: the number of its dynamic entries, with the closing DT_NULL; 0 if the file has no dynamic section.
    strings: the place of the dynamic string table in the file: (offset, bytes).
    """

    abi: Abi
    image: bytes
    entries: int
    strings: tuple[int, int]


def abi_of(header: bytes) -> Abi | None:
    """The ABI in the first bytes of a file; None if it is not an ELF file, or has no known class and byte order."""
    if not header.startswith(MAGIC) or len(header) < 20 or header[4] not in (1, 2) or header[5] not in (1, 2):
        return None
    little = header[5] == 1
    machine = int.from_bytes(header[18:20], "little" if little else "big")
    return Abi(64 if header[4] == 2 else 32, little, machine)


def cut(path: str, descriptor: int) -> Excerpt | None:
    """The excerpt of the open file, or None if it is not ELF.  It reads little more than `STRINGS_MAX_BYTES` at most.

    path: for errors.  Raises: BadElf; OSError.
    """
    header = os.pread(descriptor, 64, 0)
    if not header.startswith(MAGIC):
        return None
    abi = abi_of(header)
    if abi is None:
        raise BadElf(path, "an ELF file of a class or byte order that does not exist")
    layout = _Layout(abi)
    if len(header) < layout.header.size:
        raise BadElf(path, "truncated in its ELF header")
    return _Cutter(path, descriptor, abi, layout, header).excerpt()


class _Segment(msgspec.Struct, frozen=True):
    kind: int
    offset: int
    address: int
    size_bytes: int


class _Layout:
    """The structures of one class and byte order."""

    def __init__(self, abi: Abi) -> None:
        order, wide = "<" if abi.little else ">", abi.bits == 64
        self.header = struct.Struct(order + ("16sHHIQQQIHHHHHH" if wide else "16sHHIIIIIHHHHHH"))
        self.segment = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        self.entry = struct.Struct(order + ("qQ" if wide else "iI"))
        self._wide = wide

    def read_segment(self, fields: tuple[int, ...]) -> _Segment:
        if self._wide:
            kind, _, offset, address, _, size_bytes, _, _ = fields
        else:
            kind, offset, address, _, size_bytes, _, _, _ = fields
        return _Segment(kind, offset, address, size_bytes)

    def write_segment(self, each: _Segment) -> bytes:
        place = (each.offset, each.address, each.address, each.size_bytes, each.size_bytes)
        return self.segment.pack(each.kind, 4, *place, 1) if self._wide else self.segment.pack(each.kind, *place, 4, 1)


class _Cutter:
    """One pass over one open file."""

    def __init__(self, path: str, descriptor: int, abi: Abi, layout: _Layout, header: bytes) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size_bytes = os.fstat(descriptor).st_size
        self._abi = abi
        self._layout = layout
        self._header = header

    def excerpt(self) -> Excerpt:
        segments = self._segments()
        # Only the last of each kind counts, so that a thousand of them cost no more than one.
        last = {each.kind: each for each in segments}
        interpreter = self._interpreter(last[_PT_INTERP]) if _PT_INTERP in last else b""
        if _PT_DYNAMIC not in last:
            return Excerpt(self._abi, *self._image(interpreter, None, b""), (0, 0))
        dynamic = self._dynamic(last[_PT_DYNAMIC])
        offset, size_bytes = self._string_table(dict(dynamic), segments)
        strings = self._bytes(offset, size_bytes, "dynamic string table")
        self._check_names([value for tag, value in dynamic if tag in _NAMES], strings)
        sought = [(tag, value) for tag, value in dynamic if tag in _NAMES or tag == _DT_FLAGS_1]
        return Excerpt(self._abi, *self._image(interpreter, sought, strings), (offset, size_bytes))

    def _segments(self) -> list[_Segment]:
        fields = self._layout.header.unpack_from(self._header)
        kind, table, entry_bytes, count = fields[1], fields[5], fields[9], fields[10]
        if kind not in (_ET_EXEC, _ET_DYN):
            raise self._bad("an ELF file that is neither a program nor a shared library")
        if entry_bytes != self._layout.segment.size or not 0 < count <= SEGMENTS_MAX:
            raise self._bad(f"its ELF header claims {count} program headers of {entry_bytes} bytes")
        headers = self._bytes(table, count * entry_bytes, "program headers")
        segments = []
        for each in map(self._layout.read_segment, self._layout.segment.iter_unpack(headers)):
            if each.kind in (_PT_LOAD, _PT_DYNAMIC, _PT_INTERP):
                end = each.offset + each.size_bytes
                if end > self._size_bytes:
                    raise self._bad(f"truncated: a segment ends at byte {end} of {self._size_bytes}")
                segments.append(each)
        return segments

    def _interpreter(self, segment: _Segment) -> bytes:
        if not 1 < segment.size_bytes <= NAME_MAX_BYTES:
            raise self._bad(f"its interpreter's name has {segment.size_bytes} bytes")
        text, end, _ = self._bytes(segment.offset, segment.size_bytes, "interpreter").partition(b"\0")
        # LIEF returns this name only as a str, so it must be UTF-8.  Bytes that are not UTF-8 are not printable either.
        if not end or not text.startswith(b"/") or not text.decode(errors="surrogateescape").isprintable():
            raise self._bad("its interpreter is not an absolute path in printable UTF-8")
        return text + end

    def _dynamic(self, segment: _Segment) -> list[tuple[int, int]]:
        """All entries before the closing DT_NULL, as (tag, value)."""
        if segment.size_bytes > DYNAMIC_MAX_BYTES:
            raise self._bad(f"its dynamic section has {segment.size_bytes} bytes")
        data = self._bytes(segment.offset, segment.size_bytes, "dynamic section")
        size = self._layout.entry.size
        entries = []
        for tag, value in self._layout.entry.iter_unpack(data[: len(data) // size * size]):
            if tag == _DT_NULL:
                break
            entries.append((tag, value))
        return entries

    def _string_table(self, dynamic: dict[int, int], segments: list[_Segment]) -> tuple[int, int]:
        """The string table's offset in the file, and its size."""
        if _DT_STRTAB not in dynamic:
            raise self._bad("its dynamic section has no string table")
        address, size_bytes = dynamic[_DT_STRTAB], dynamic.get(_DT_STRSZ, 0)
        if size_bytes > STRINGS_MAX_BYTES:
            raise self._bad(f"its dynamic string table has {size_bytes} bytes")
        for segment in segments:
            inside = address - segment.address
            if segment.kind == _PT_LOAD and inside >= 0 and inside + size_bytes <= segment.size_bytes:
                return segment.offset + inside, size_bytes
        raise self._bad("its dynamic string table lies outside its segments")

    def _check_names(self, names: list[int], strings: bytes) -> None:
        total = 0
        for start in names:
            if start >= len(strings):
                raise self._bad("a name in its dynamic section lies outside its string table")
            end = strings.find(b"\0", start, start + NAME_MAX_BYTES)
            if end < 0:
                raise self._bad(f"a name in its dynamic section is longer than {NAME_MAX_BYTES} bytes or has no end")
            total += end - start
        if total > NAMES_MAX_BYTES:
            raise self._bad(f"the names in its dynamic section have {total} bytes")

    def _image(self, interpreter: bytes, sought: list[tuple[int, int]] | None, strings: bytes) -> tuple[bytes, int]:
        """An ELF file in which every address equals its offset, and the number of its dynamic entries."""
        layout = self._layout
        at_interpreter = layout.header.size + 3 * layout.segment.size
        at_strings = at_interpreter + len(interpreter)
        at_dynamic = at_strings + len(strings)
        dynamic = []
        if sought is not None:
            dynamic = [*sought, (_DT_STRTAB, at_strings), (_DT_STRSZ, len(strings)), (_DT_NULL, 0)]
        if len(dynamic) > ENTRIES_MAX:
            raise self._bad(f"its dynamic section names {len(dynamic) - 3} libraries and search paths")
        table = b"".join(layout.entry.pack(*each) for each in dynamic)
        segments = (
            _Segment(_PT_LOAD, 0, 0, at_dynamic + len(table)),
            _Segment(_PT_INTERP if interpreter else _PT_NULL, at_interpreter, at_interpreter, len(interpreter)),
            _Segment(_PT_DYNAMIC if dynamic else _PT_NULL, at_dynamic, at_dynamic, len(table)),
        )
        identity = self._header[:6] + b"\1" + bytes(9)
        sizes = layout.header.size, layout.segment.size, len(segments), 0, 0, 0
        header = layout.header.pack(identity, _ET_DYN, 0, 1, 0, layout.header.size, 0, 0, *sizes)
        return b"".join((header, *map(layout.write_segment, segments), interpreter, strings, table)), len(dynamic)

    def _bytes(self, offset: int, size_bytes: int, what: str) -> bytes:
        # Checked before reading: pread would take an offset above 2**63 for a negative one.
        if offset + size_bytes > self._size_bytes:
            raise self._bad(f"truncated: its {what} end at byte {offset + size_bytes} of {self._size_bytes}")
        return os.pread(self._descriptor, size_bytes, offset)

    def _bad(self, reason: str) -> BadElf:
        return BadElf(self._path, reason)
