"""What the dynamic linker reads of an ELF file, and nothing more: a few kilobytes, by pread, with every offset checked.

The file may be truncated, corrupt or made to harm: sizes are held against the file before anything of that
size is read, and no count in the file buys more than the limits below.  Format: System V ABI, chapters 4, 5.

Own code where LIEF would do: `import lief` costs 350 ms and 47 MiB (measured on Python 3.11, lief 1.0.0), which
alone would use up what a cold `gproc e` may take; it also reads a whole file to say what it needs, and answers
a truncated one with an empty list.  `tests/bundle/test_elf.py` holds this reader against LIEF.
"""

from __future__ import annotations

import os
import struct
from typing import Final

import msgspec

from gproc.errors import BundleError

MAGIC: Final = b"\x7fELF"

SEGMENTS_MAX: Final = 1024
"""Program headers; the largest on a Debian machine is 14.  Above: PN_XNUM core dumps, or a trap."""
DYNAMIC_MAX_BYTES: Final = 1 << 20
"""The dynamic section: 65,536 entries.  libLLVM, with the longest list of needed libraries here, has 47."""
STRING_MAX_BYTES: Final = 1 << 17
"""One name or search path; package managers that give each library its own prefix write RPATHs of 10 KB and more."""
STRINGS_MAX_BYTES: Final = 64 << 20
"""The dynamic string table, which `mentions` reads: libLLVM's is 2 MiB, a CUDA library's 20."""

ET_EXEC: Final = 2
ET_DYN: Final = 3
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_DT_FLAGS_1: Final = 0x6FFFFFFB
_DF_1_NODEFLIB: Final = 0x800


class BadElf(BundleError):
    """An ELF file that no linker could use."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Abi(msgspec.Struct, frozen=True):
    """What two objects must share to be linked: class, byte order and machine (e_machine)."""

    bits: int
    little: bool
    machine: int


class Elf(msgspec.Struct, frozen=True):
    """One ELF file, as its linker sees it.

    interpreter: PT_INTERP; "" where the kernel starts the file without one.
    runpath, rpath: None where absent; an RPATH beside a RUNPATH is not reported, as no linker heeds it.
    needed: DT_NEEDED, in order.
    no_default_dirs: DF_1_NODEFLIB.
    strings: where the dynamic string table lies in the file: (offset, bytes).
    """

    abi: Abi
    kind: int
    interpreter: str
    soname: str
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    no_default_dirs: bool
    strings: tuple[int, int]


def read(path: str) -> Elf | None:
    """The ELF file at path, or None where it is something else.

    Raises: BadElf where it is ELF and broken; OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _Reader(path, descriptor).elf()
    finally:
        os.close(descriptor)


def abi_of(path: str) -> Abi | None:
    """Class, byte order and machine alone: what tells a linker to pass a candidate over.  None: no ELF."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _abi(os.pread(descriptor, 64, 0))
    finally:
        os.close(descriptor)


def mentions(path: str, elf: Elf, names: frozenset[bytes]) -> bool:
    """Whether one of these symbol names stands in the dynamic string table: it is imported, or defined."""
    offset, size = elf.strings
    if not size:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        table = os.pread(descriptor, min(size, STRINGS_MAX_BYTES), offset)
    finally:
        os.close(descriptor)
    return any(b"\0" + name + b"\0" in table for name in names)


def _abi(header: bytes) -> Abi | None:
    if not header.startswith(MAGIC) or len(header) < 20 or header[4] not in (1, 2) or header[5] not in (1, 2):
        return None
    little = header[5] == 1
    machine = int.from_bytes(header[18:20], "little" if little else "big")
    return Abi(64 if header[4] == 2 else 32, little, machine)


class _Segment(msgspec.Struct, frozen=True):
    kind: int
    offset: int
    address: int
    size_bytes: int


class _Reader:
    """One pass over one open file."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size_bytes = os.fstat(descriptor).st_size

    def elf(self) -> Elf | None:
        header = os.pread(self._descriptor, 64, 0)
        if not header.startswith(MAGIC):
            return None
        abi = _abi(header)
        if abi is None:
            raise self._bad("an ELF file of a class or byte order that does not exist")
        order = "<" if abi.little else ">"
        if len(header) < (64 if abi.bits == 64 else 52):
            raise self._bad("truncated within its ELF header")
        kind: int = struct.unpack_from(order + "H", header, 16)[0]
        if kind not in (ET_EXEC, ET_DYN):
            raise self._bad("an ELF file that is neither a program nor a shared library")
        segments = self._segments(header, order, abi.bits)
        interpreter = ""
        dynamic: list[tuple[int, int]] = []
        for segment in segments:
            if segment.kind == _PT_INTERP:
                interpreter = self._interpreter(segment)
            elif segment.kind == _PT_DYNAMIC:
                dynamic = self._dynamic(segment, order, abi.bits)
        return self._linked(abi, kind, interpreter, dynamic, segments)

    def _segments(self, header: bytes, order: str, bits: int) -> list[_Segment]:
        if bits == 64:
            table, entry_bytes, count = (*struct.unpack_from(order + "Q", header, 32), *_counts(order, header, 54))
            layout = struct.Struct(order + "IIQQQQQQ")
        else:
            table, entry_bytes, count = (*struct.unpack_from(order + "I", header, 28), *_counts(order, header, 42))
            layout = struct.Struct(order + "IIIIIIII")
        if entry_bytes != layout.size or not 0 < count <= SEGMENTS_MAX:
            raise self._bad(f"its ELF header claims {count} program headers of {entry_bytes} bytes")
        segments = []
        for fields in layout.iter_unpack(self._bytes(table, count * entry_bytes, "program headers")):
            if bits == 64:
                kind, _, offset, address, _, size_bytes, _, _ = fields
            else:
                kind, offset, address, _, size_bytes, _, _, _ = fields
            if kind in (_PT_LOAD, _PT_DYNAMIC, _PT_INTERP):
                if offset + size_bytes > self._size_bytes:
                    raise self._bad(f"truncated: a segment ends at byte {offset + size_bytes} of {self._size_bytes}")
                segments.append(_Segment(kind, offset, address, size_bytes))
        return segments

    def _interpreter(self, segment: _Segment) -> str:
        if not 1 < segment.size_bytes <= STRING_MAX_BYTES:
            raise self._bad(f"its interpreter's name has {segment.size_bytes} bytes")
        text, end, _ = self._bytes(segment.offset, segment.size_bytes, "interpreter").partition(b"\0")
        if not end or not text.startswith(b"/"):
            raise self._bad("its interpreter is not an absolute path")
        return os.fsdecode(text)

    def _dynamic(self, segment: _Segment, order: str, bits: int) -> list[tuple[int, int]]:
        if segment.size_bytes > DYNAMIC_MAX_BYTES:
            raise self._bad(f"its dynamic section has {segment.size_bytes} bytes")
        layout = struct.Struct(order + ("qQ" if bits == 64 else "iI"))
        data = self._bytes(segment.offset, segment.size_bytes, "dynamic section")
        entries = []
        for tag, value in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
            if tag == 0:
                break
            entries.append((tag, value))
        return entries

    def _linked(
        self, abi: Abi, kind: int, interpreter: str, dynamic: list[tuple[int, int]], segments: list[_Segment]
    ) -> Elf:
        single = dict(dynamic)
        strings = self._string_table(single, segments)

        def string(tag: int) -> str | None:
            return self._string(strings, single[tag]) if tag in single else None

        runpath = string(_DT_RUNPATH)
        return Elf(
            abi=abi,
            kind=kind,
            interpreter=interpreter,
            soname=string(_DT_SONAME) or "",
            needed=tuple(self._string(strings, value) for tag, value in dynamic if tag == _DT_NEEDED),
            rpath=string(_DT_RPATH) if runpath is None else None,
            runpath=runpath,
            no_default_dirs=bool(single.get(_DT_FLAGS_1, 0) & _DF_1_NODEFLIB),
            strings=strings,
        )

    def _string_table(self, dynamic: dict[int, int], segments: list[_Segment]) -> tuple[int, int]:
        if _DT_STRTAB not in dynamic:
            return 0, 0
        address, size_bytes = dynamic[_DT_STRTAB], dynamic.get(_DT_STRSZ, 0)
        for segment in segments:
            inside = address - segment.address
            if segment.kind == _PT_LOAD and inside >= 0 and inside + size_bytes <= segment.size_bytes:
                return segment.offset + inside, size_bytes
        raise self._bad("its dynamic string table lies outside its segments")

    def _string(self, strings: tuple[int, int], index: int) -> str:
        offset, size_bytes = strings
        if index >= size_bytes:
            raise self._bad("a name in its dynamic section lies outside its string table")
        most = min(size_bytes - index, STRING_MAX_BYTES)
        # Nearly all names are short; the few long search paths cost a second read.
        for length in (min(most, 256), most):
            text, end, _ = os.pread(self._descriptor, length, offset + index).partition(b"\0")
            if end:
                return os.fsdecode(text)
        raise self._bad(f"a name in its dynamic section is longer than {STRING_MAX_BYTES} bytes or has no end")

    def _bytes(self, offset: int, size_bytes: int, what: str) -> bytes:
        # Compared before reading: pread would take an offset past 2**63 for a negative one.
        if offset + size_bytes > self._size_bytes:
            raise self._bad(f"truncated: its {what} end at byte {offset + size_bytes} of {self._size_bytes}")
        return os.pread(self._descriptor, size_bytes, offset)

    def _bad(self, reason: str) -> BadElf:
        return BadElf(self._path, reason)


def _counts(order: str, header: bytes, offset: int) -> tuple[int, int]:
    entry_bytes, count = struct.unpack_from(order + "HH", header, offset)
    return entry_bytes, count
