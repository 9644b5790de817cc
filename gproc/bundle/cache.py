"""The cache of bundles: a program's bundle, and everything that must be unchanged for it to be valid.

Each record is a file, named by a digest of the question.  A record that cannot be read, or that no longer holds, is a
miss and will be replaced.  The directory belongs to the caller (0700, records 0600), so that a forged record deceives
only its own author.  A warm `gproc e` runs this module: it imports only what is loaded already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from itertools import islice
from typing import Final

import msgspec

from gproc import descriptors
from gproc.bundle import keeping
from gproc.content.manifest import digest_of, nanoseconds
from gproc.environment import base_directory, user_home

RECORDS_MAX: Final = 200
"""Programs in the cache.  The record of a single program has 3 KB, with Python's library 500 KB."""
RACY_NS: Final = 100_000_000
"""A bundle is not cached if one of its files changed within this time before packing.  Such a file could change again
within the same tick of the file system's clock (4 to 10 ms: CONFIG_HZ) and keep its stamp."""
FORMAT: Final = 9


class PathStamp(msgspec.Struct, frozen=True, array_like=True):
    """The state of a file, a link or a searched directory."""

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
            nanoseconds(status.st_mtime_ns),
            nanoseconds(status.st_ctime_ns),
        )

    def holds(self) -> bool:
        return PathStamp.of(self.path, os.lstat(self.path)) == self


class Attributes(msgspec.Struct, frozen=True, array_like=True):
    """The rights of a directory.  The manifest holds only these, so changes in the directory do not matter."""

    path: bytes
    mode: int
    uid: int
    gid: int

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> Attributes:
        return cls(path, status.st_mode, status.st_uid, status.st_gid)

    def holds(self) -> bool:
        return Attributes.of(self.path, os.lstat(self.path)) == self


class Many(msgspec.Struct, frozen=True, array_like=True, tag="many"):
    """A directory that had too many names to be taken.  More of them change nothing: programs write output there."""

    path: bytes
    names_max: int

    def holds(self) -> bool:
        with os.scandir(self.path) as entries:
            return sum(1 for _ in islice(entries, self.names_max + 1)) > self.names_max


class Large(msgspec.Struct, frozen=True, array_like=True, tag="large"):
    """Files that were too much together to be taken.  If they grow, nothing changes."""

    paths: tuple[bytes, ...]
    bytes_max: int

    def holds(self) -> bool:
        return sum(os.lstat(path).st_size for path in self.paths) > self.bytes_max


class Traces(msgspec.Struct, frozen=True, array_like=True):
    """Everything that an answer depends on.

    absent: paths of directories that were sought and did not exist.
    outputs: files that were left out because the caller's standard output or error went there.
    """

    stamps: tuple[PathStamp, ...]
    attributes: tuple[Attributes, ...]
    absent: tuple[bytes, ...]
    left: tuple[Many | Large, ...] = ()
    outputs: tuple[bytes, ...] = ()

    def hold(self) -> bool:
        try:
            if not all(each.holds() for each in (*self.stamps, *self.attributes, *self.left)):
                return False
            outputs = descriptors.outputs() if self.outputs else frozenset()
            if any((found.st_dev, found.st_ino) not in outputs for found in map(os.lstat, self.outputs)):
                return False
        except OSError:
            return False
        return not any(os.path.lexists(path) for path in self.absent)

    def racy(self, started_ns: int) -> bool:
        return any(max(stamp.mtime_ns, stamp.ctime_ns) > started_ns - RACY_NS for stamp in self.stamps)


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What was asked, as it is known before any file is read.  Relative paths are made absolute.

    programs, script, code, files, yielding, told, whole, around: what the command's words mean, without the program:
    `meaning.Meant`.
    directories: of the programs, the command's own first.  named, small: `Meant.directories`, `Meant.small`.
    series: to which the files belong that the command prints to.
    observed: the digest of what was kept of its traced runs, or b"".
    """

    program: bytes
    extra: tuple[bytes, ...]
    root: bytes
    library_path: tuple[bytes, ...]
    superuser: bool
    programs: tuple[tuple[bytes, ...], ...] = ()
    script: bytes = b""
    code: bytes = b""
    files: tuple[bytes, ...] = ()
    yielding: tuple[bytes, ...] = ()
    with_package: bool = False
    observed: bytes = b""
    directories: tuple[tuple[bytes, ...], ...] = ()
    told: tuple[tuple[bytes, bytes], ...] = ()
    whole: tuple[bytes, ...] = ()
    around: bool = False
    named: tuple[bytes, ...] = ()
    series: tuple[bytes, ...] = ()
    small: tuple[bytes, ...] = ()

    def name(self) -> str:
        return digest_of(msgspec.msgpack.encode((FORMAT, self))).hex()[:32]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An answer, and everything that it depends on.

    sources: pairs (path in the bundle, path that it is read from), for files for which these differ.
    environ: the variables that packing read; None for one that was not set.
    cwd: the working directory if packing used it (for example for an empty element of LD_LIBRARY_PATH), else None.
    taken: directories that went along whole.
    """

    question: Question
    digest: bytes
    encoded: bytes
    sources: tuple[tuple[bytes, bytes], ...]
    traces: Traces
    environ: tuple[tuple[bytes, bytes | None], ...]
    cwd: bytes | None
    taken: tuple[bytes, ...] = ()

    def holds(self, environ: Mapping[bytes, bytes], cwd: bytes) -> bool:
        if self.cwd not in (None, cwd) or any(environ.get(name) != value for name, value in self.environ):
            return False
        return self.traces.hold()


_decoder = msgspec.msgpack.Decoder(Record)


NO_HOME: Final = "/proc/no-home/.cache"


def default_directory(environ: Mapping[str, str]) -> str:
    """The cache below $XDG_CACHE_HOME if that is absolute, else below ~/.cache: XDG Base Directory Specification.

    If the user has no home, or the home does not exist, it is below a directory that cannot be made, so that nothing is
    kept: root would make that home.
    """
    chosen = base_directory(environ, "XDG_CACHE_HOME", ".cache", NO_HOME)
    if chosen == os.path.join(home := user_home(environ), ".cache") and not os.path.isdir(home):
        chosen = NO_HOME
    return os.path.join(chosen, "gproc", "bundles")


def recall(directory: str, question: Question, environ: Mapping[bytes, bytes], cwd: bytes) -> Record | None:
    """The record for this question, if there is one and it still holds."""
    try:
        kept = keeping.read_own(os.path.join(directory, question.name()))
        if kept is None:
            return None
        record = _decoder.decode(kept)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if record.question != question or digest_of(record.encoded) != record.digest or not record.holds(environ, cwd):
        return None
    return record


def remember(directory: str, record: Record, started_ns: int) -> None:
    """Keep a record, unless a file changed just before `started_ns` (time.time_ns), and remove the oldest records.

    A cache that cannot be written is not an error: the bundle is valid without it.
    """
    if record.traces.racy(started_ns):
        return
    with contextlib.suppress(OSError):
        keeping.replace(os.path.join(directory, record.question.name()), msgspec.msgpack.encode(record))
        keeping.prune(directory, RECORDS_MAX)
