"""The database of rpm, as Fedora, its relatives and SUSE have it.

Since rpm 4.16 most systems keep it in SQLite, which is read here.  Of another one (Berkeley DB, ndb) rpm itself makes a
list of headers, by `rpmdb --exportdb`.  Each package is a header: https://rpm.org/docs/4.19.x/manual/format_header.html
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from gproc.bundle.distribution.installed import InstalledPackage
from gproc.bundle.image import Image
from gproc.errors import BundleError

_PLACES: Final = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_OTHERS: Final = ("Packages.db", "Packages")
"""The files of ndb and of Berkeley DB."""

_EXPORT_BYTES_MAX: Final = 1 << 30

_SAID_BYTES_MAX: Final = 4096
"""How much of rpmdb's words is told."""

_MAGIC: Final = b"\x8e\xad\xe8\x01\0\0\0\0"
_SIZES: Final = struct.Struct(">II")
_ENTRY: Final = struct.Struct(">IIII")
_ENTRIES_MAX: Final = 1 << 16
_DATA_BYTES_MAX: Final = 256 << 20
_INT32: Final = 4
_STRINGS: Final = (6, 8, 9)
"""A string, a list of strings, and a string in several languages."""

_NAME: Final = 1000
_SIZE: Final = 1009
_PROVIDES: Final = 1047
_REQUIRES: Final = 1049
_DIRECTORY_OF: Final = 1116
_BASENAMES: Final = 1117
_DIRECTORIES: Final = 1118
_RECOMMENDS: Final = 5046

_RICH: Final = re.compile(r"[^\s()]+(?:\([^\s()]*\))*")
_OPERATORS: Final = frozenset({"and", "or", "if", "else", "unless", "with", "without", "=", "<", ">", "<=", ">="})

ESSENTIAL: Final = frozenset({
    "basesystem", "bash", "coreutils", "coreutils-common", "coreutils-single", "diffutils", "filesystem", "findutils",
    "gawk", "glibc-common", "grep", "gzip", "hostname", "ncurses-base", "rpm", "sed", "setup", "shadow-utils", "tar",
    "util-linux", "util-linux-core",
})  # fmt: skip
"""rpm does not say what every system has.  These are the counterparts of what Debian calls essential."""


class Rpm:
    manager = "rpm"
    alternatives = "/var/lib/alternatives"

    def __init__(self, image: Image) -> None:
        """Raises: BundleError if its database cannot be read."""
        self.packages: dict[str, InstalledPackage] = {}
        self.providers: dict[str, list[str]] = {}
        self._files: dict[str, list[str]] = {}
        for header in _headers(image):
            self._add(Header(header))
        self._provide_files()

    def files(self, name: str) -> list[str]:
        return self._files.get(name, [])

    def _add(self, header: Header) -> None:
        """Several packages may have one name: of two architectures, or two versions of a kernel."""
        name = next(iter(header.strings(_NAME)), "")
        depends = tuple(map(_alternatives, header.strings(_REQUIRES)))
        recommends = tuple(map(_alternatives, header.strings(_RECOMMENDS)))
        size_kib = sum(header.numbers(_SIZE)) >> 10
        if (same := self.packages.get(name)) is not None:
            depends, recommends = (*same.depends, *depends), (*same.recommends, *recommends)
            size_kib += same.size_kib
        self.packages[name] = InstalledPackage(name, depends, recommends, name in ESSENTIAL, size_kib)
        for provided in header.strings(_PROVIDES):
            names = self.providers.setdefault(provided, [])
            if name not in names:
                names.append(name)
        directories = header.strings(_DIRECTORIES)
        files = self._files.setdefault(name, [])
        for number, base in zip(header.numbers(_DIRECTORY_OF), header.strings(_BASENAMES), strict=False):
            if number < len(directories):
                files.append((directories[number] + base).rstrip("/") or "/")

    def _provide_files(self) -> None:
        """A package may require a file: "/bin/sh"."""
        wanted = {
            name for package in self.packages.values() for names in package.depends for name in names if name[:1] == "/"
        }
        for name, files in self._files.items():
            for path in files:
                for known in (path, path.removeprefix("/usr")):
                    if known in wanted:
                        self.providers.setdefault(known, []).append(name)


class Header:
    """One package.  A tag that it does not have is an empty list.  Raises: BundleError for what is no header."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _SIZES.size:
            raise _malformed("ends too early")
        entries, length = _SIZES.unpack_from(data)
        begin = _SIZES.size + entries * _ENTRY.size
        if entries > _ENTRIES_MAX or length > _DATA_BYTES_MAX or begin + length > len(data):
            raise _malformed("ends too early")
        self._data = memoryview(data)[begin : begin + length].tobytes()
        self._index: dict[int, tuple[int, int, int]] = {}
        for at in range(_SIZES.size, begin, _ENTRY.size):
            tag, kind, offset, count = _ENTRY.unpack_from(data, at)
            self._index[tag] = kind, offset, count

    def strings(self, tag: int) -> list[str]:
        kind, offset, count = self._index.get(tag, (0, 0, 0))
        if kind not in _STRINGS:
            return []
        found = []
        for _ in range(count):
            end = self._data.find(b"\0", offset)
            if end < 0:
                raise _malformed("has a string without an end")
            found.append(os.fsdecode(self._data[offset:end]))
            offset = end + 1
        return found

    def numbers(self, tag: int) -> list[int]:
        kind, offset, count = self._index.get(tag, (0, 0, 0))
        if kind != _INT32:
            return []
        if offset + 4 * count > len(self._data):
            raise _malformed("has a number beyond its end")
        return list(struct.unpack_from(f">{count}I", self._data, offset))


def is_there(image: Image) -> bool:
    return any(image.names(place) for place in _PLACES)


def _headers(image: Image) -> Iterator[bytes]:
    for place in _PLACES:
        names = image.names(place)
        if "rpmdb.sqlite" in names:
            image.content(f"{place}/rpmdb.sqlite-wal", 0)  # what was written last is there, so it is part of the answer
            if image.content(f"{place}/rpmdb.sqlite", 1):
                yield from _of_sqlite(image.host(f"{place}/rpmdb.sqlite"))
                return
        for other in _OTHERS:
            if other in names and image.content(f"{place}/{other}", 1):
                yield from _exported(image.host(place))
                return


def _of_sqlite(path: str) -> Iterator[bytes]:
    import sqlite3  # 5 ms: it is needed only if a package is asked for
    from urllib.parse import quote

    # A user who may not write beside a database with a log can read it as it is, without the log.
    for how in ("mode=ro", "immutable=1"):
        try:
            with closing(sqlite3.connect(f"file:{quote(path)}?{how}", uri=True)) as database:
                rows = database.execute("select blob from Packages").fetchall()
        except sqlite3.Error as error:
            failed = str(error)
            continue
        yield from (bytes(blob) for (blob,) in rows)
        return
    raise BundleError(f"{path}: rpm's database cannot be read: {failed}")


def _exported(place: str) -> Iterator[bytes]:
    import subprocess
    import tempfile

    rpmdb = shutil.which("rpmdb")
    if rpmdb is None:
        raise BundleError(f"{place}: a database that only rpm itself can read, and there is no rpmdb in PATH")
    command = [rpmdb, "--exportdb", "--dbpath", os.path.abspath(place)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        exported = process.stdout.read(_EXPORT_BYTES_MAX + 1)
        if len(exported) > _EXPORT_BYTES_MAX:
            process.kill()
            raise BundleError(f"{place}: rpm's database cannot be read: it is too large")
        if process.wait():
            errors.seek(0)
            said = errors.read(_SAID_BYTES_MAX).decode(errors="replace").strip() or "rpmdb gives no reason"
            raise BundleError(f"{place}: rpm's database cannot be read: {said}")
    yield from split(exported)


def split(exported: bytes) -> Iterator[bytes]:
    """Headers that stand one behind the other, each with its magic number.  Raises: BundleError."""
    at = 0
    while at < len(exported):
        begin = at + len(_MAGIC)
        if exported[at:begin] != _MAGIC or begin + _SIZES.size > len(exported):
            raise _malformed("does not begin as one")
        entries, length = _SIZES.unpack_from(exported, begin)
        at = begin + _SIZES.size + entries * _ENTRY.size + length
        yield exported[begin:at]


def _alternatives(relation: str) -> tuple[str, ...]:
    """The names in a relation.  Of a rich one, "(a or b >= 2)", each that is installed counts."""
    if not relation.startswith("("):
        return (relation,)
    words = _RICH.findall(relation)
    return tuple(
        word for before, word in zip(["", *words], words, strict=False)
        if word not in _OPERATORS and not (before and before[-1] in "=<>")
    )  # fmt: skip


def _malformed(why: str) -> BundleError:
    return BundleError(f"a header of rpm's database {why}; `rpm --rebuilddb` makes the database anew")
