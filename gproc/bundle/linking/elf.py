"""What an ELF file asks of its dynamic linker, parsed by LIEF.

Only this module imports LIEF, for the first file that no `Memo` knows.  The import takes 0.3 s of CPU and 50 MiB (1.0.0
on Python 3.11 makes 68,000 members of enumerations); each file then takes 0.1 ms.  LIEF parses an `excerpt`; that
module gives the reason.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from gproc.bundle.linking import excerpt
from gproc.bundle.linking.excerpt import Abi, BadElf, Excerpt
from gproc.bundle.memo import ElfFacts, Memo
from gproc.collecting import paused

if TYPE_CHECKING:
    import lief

__all__ = ["Abi", "BadElf", "Elf", "abi_of", "mentions", "read"]

_DF_1_NODEFLIB: Final = 0x800


class Elf(msgspec.Struct, frozen=True):
    """One ELF file, as its linker sees it.

    interpreter: PT_INTERP; "" if the kernel starts the file without one.
    runpath, rpath: None if absent; rpath is None beside a RUNPATH too, because no linker uses both.
    needed: DT_NEEDED, in order.
    no_default_dirs: DF_1_NODEFLIB.
    strings: the place of the dynamic string table in the file: (offset, bytes).
    """

    abi: Abi
    interpreter: str
    soname: str
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    no_default_dirs: bool
    strings: tuple[int, int]


def read(path: str, memo: Memo | None = None) -> Elf | None:
    """The ELF file at path, or None if it is something else.

    memo: holds what LIEF found before.
    Raises: BadElf if it is ELF and broken; OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = excerpt.cut(path, descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
    return None if found is None else _elf(path, found, memo or Memo())


def abi_of(path: str) -> Abi | None:
    """Class, byte order and machine of the file at path, by which a linker rejects candidates; None if not ELF."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return excerpt.abi_of(os.pread(descriptor, 64, 0))
    finally:
        os.close(descriptor)


def mentions(path: str, elf: Elf, names: frozenset[bytes]) -> bool:
    """Whether the dynamic string table contains one of these symbol names: the file imports or defines it.

    This takes 0.2 ms for libc and 7 ms for libLLVM.  LIEF makes an object of every symbol: 4 ms and 160 ms.
    """
    offset, size = elf.strings
    if not size:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        table = os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
    return any(b"\0" + name + b"\0" in table for name in names)


def _elf(path: str, found: Excerpt, memo: Memo) -> Elf:
    answer = memo.recall(found.image)
    if answer is None:
        answer = _parsed(path, found)
        memo.remember(found.image, answer)
    return Elf(
        abi=found.abi,
        interpreter=os.fsdecode(answer.interpreter),
        soname=os.fsdecode(answer.soname),
        needed=tuple(map(os.fsdecode, answer.needed)),
        rpath=None if answer.rpath is None or answer.runpath is not None else os.fsdecode(answer.rpath),
        runpath=None if answer.runpath is None else os.fsdecode(answer.runpath),
        no_default_dirs=bool(answer.flags_1 & _DF_1_NODEFLIB),
        strings=found.strings,
    )


def _parsed(path: str, found: Excerpt) -> ElfFacts:
    with paused():  # else a fifth of the import looks for garbage among 68,000 members of enumerations
        import lief

    # LIEF writes warnings to stderr; our own errors report what is wrong with a file.
    lief.logging.disable()
    binary = lief.ELF.parse(found.image, _config())
    # For a file that it cannot read, LIEF returns None, or leaves parts out.
    if binary is None or len(binary.dynamic_entries) != found.entries:
        raise BadElf(path, "an ELF file that LIEF cannot read")
    soname, rpath, runpath, flags = b"", None, None, 0
    needed: list[bytes] = []
    for entry in binary.dynamic_entries:
        match entry:
            case lief.ELF.DynamicEntryLibrary():
                needed.append(_raw(entry.name))
            case lief.ELF.DynamicSharedObject():
                soname = _raw(entry.name)
            case lief.ELF.DynamicEntryRpath():
                rpath = _raw(entry.rpath)
            case lief.ELF.DynamicEntryRunPath():
                runpath = _raw(entry.runpath)
            case lief.ELF.DynamicEntryFlags():
                flags = int(entry.value)
    interpreter = _raw(binary.interpreter) if binary.has_interpreter else b""
    return ElfFacts(interpreter, soname, tuple(needed), rpath, runpath, flags)


def _raw(name: str | bytes) -> bytes:
    """The name as in the file.  LIEF decodes names that are UTF-8, and leaves others as bytes."""
    return name.encode() if isinstance(name, str) else name


def _config() -> lief.ELF.ParserConfig:
    """Parse only program headers and dynamic entries: an excerpt has nothing else."""
    import lief

    config = lief.ELF.ParserConfig()
    config.parse_dyn_symbols = config.parse_symtab_symbols = config.parse_symbol_versions = False
    config.parse_relocations = config.parse_notes = config.parse_overlay = False
    return config
