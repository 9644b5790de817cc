"""Closures remembered: what a program's bundle was, and everything that must be as it was for this to hold.

One file a record, named by what was asked for.  A record that cannot be read, or that no longer holds, is a miss
and will be replaced.  The directory belongs to the caller (0700, records 0600): whom a record could deceive is
who wrote it.  This module is on the path of a warm `gproc e`: it imports nothing that is not there already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Final

import msgspec

from gproc.bundle import keeping
from gproc.content.manifest import digest_of

RECORDS_MAX: Final = 200
"""Programs remembered.  A record of a single program has 3 KB, one with Python's library 500 KB."""
RACY_NS: Final = 100_000_000
"""A file changed this short a time before it was packed could change once more within the same tick of the file
system's clock (4 to 10 ms: CONFIG_HZ) and keep its stamp; such a bundle is not remembered."""
FORMAT: Final = 1


class PathStamp(msgspec.Struct, frozen=True, array_like=True):
    """A file, link or searched directory as it was."""

    path: bytes
    device: int
    inode: int
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> PathStamp:
        return cls(
            path,
            status.st_dev,
            status.st_ino,
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )

    def holds(self) -> bool:
        return PathStamp.of(self.path, os.lstat(self.path)) == self


class Attributes(msgspec.Struct, frozen=True, array_like=True):
    """A directory of which the manifest holds the rights alone, whatever happens in it."""

    path: bytes
    mode: int
    uid: int
    gid: int

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> Attributes:
        return cls(path, status.st_mode, status.st_uid, status.st_gid)

    def holds(self) -> bool:
        return Attributes.of(self.path, os.lstat(self.path)) == self


class Traces(msgspec.Struct, frozen=True, array_like=True):
    """All that an answer was made from; `absent`: where a directory was sought, and there was nothing."""

    stamps: tuple[PathStamp, ...]
    attributes: tuple[Attributes, ...]
    absent: tuple[bytes, ...]

    def hold(self) -> bool:
        try:
            if not all(each.holds() for each in self.stamps) or not all(each.holds() for each in self.attributes):
                return False
        except OSError:
            return False
        return not any(os.path.lexists(path) for path in self.absent)

    def racy(self, started_ns: int) -> bool:
        return any(max(stamp.mtime_ns, stamp.ctime_ns) > started_ns - RACY_NS for stamp in self.stamps)


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What was asked, as far as it is known before anything is read; relative paths are made absolute."""

    program: bytes
    extra: tuple[bytes, ...]
    root: bytes
    library_path: tuple[bytes, ...]
    superuser: bool

    def name(self) -> str:
        return digest_of(msgspec.msgpack.encode((FORMAT, self))).hex()[:32]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An answer, and what it rests on.

    sources: pairs (path in the bundle, path it is read from), for files where the two differ.
    environ: the variables that were looked at, with None for one that was not set.
    cwd: the working directory where it mattered (an empty element of LD_LIBRARY_PATH), else None.
    """

    question: Question
    digest: bytes
    encoded: bytes
    sources: tuple[tuple[bytes, bytes], ...]
    traces: Traces
    environ: tuple[tuple[bytes, bytes | None], ...]
    cwd: bytes | None

    def holds(self, environ: Mapping[bytes, bytes], cwd: bytes) -> bool:
        if self.cwd not in (None, cwd) or any(environ.get(name) != value for name, value in self.environ):
            return False
        return self.traces.hold()


_decoder = msgspec.msgpack.Decoder(Record)


def default_directory(environ: Mapping[str, str]) -> str:
    """XDG Base Directory Specification: $XDG_CACHE_HOME where it is absolute, else ~/.cache."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return os.path.join(base, "gproc", "bundles")


def recall(directory: str, question: Question, environ: Mapping[bytes, bytes], cwd: bytes) -> Record | None:
    """The record for this question, where there is one and it still holds."""
    try:
        kept = keeping.read_own(os.path.join(directory, question.name()))
        if kept is None:
            return None
        record = _decoder.decode(kept)
    except (OSError, msgspec.DecodeError):
        return None
    if record.question != question or digest_of(record.encoded) != record.digest or not record.holds(environ, cwd):
        return None
    return record


def remember(directory: str, record: Record, started_ns: int) -> None:
    """Keep a record, unless a file changed just before `started_ns` (time.time_ns); prune the oldest.

    A cache that cannot be written is no cache, and not an error: the bundle is as good without it.
    """
    if record.traces.racy(started_ns):
        return
    with contextlib.suppress(OSError):
        keeping.replace(os.path.join(directory, record.question.name()), msgspec.msgpack.encode(record))
        _prune(directory)


def _prune(directory: str) -> None:
    with os.scandir(directory) as entries:
        ages = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path) for entry in entries)
    for _, path in ages[: max(0, len(ages) - RECORDS_MAX)]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
