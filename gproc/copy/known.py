"""What the caller of `gproc get` has already, so that a node need not send it again.

As rsync's quick check does, a file counts as unchanged if its size and its time, to the nanosecond, are the same.  All
nodes of a job have one standard input, so all are told of all: by digests with a salt, from which a node recognises its
own files and learns nothing of those of others.

    16 bytes of salt, then 16 bytes for each file
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from gproc.copy.steps import ITSELF

KNOWN_BYTES_MIN: Final = 4096
"""A smaller file is sent again: that costs no more than to look for it."""

KNOWN_MAX: Final = 1 << 16
"""The most files that are told of, for all nodes together: 1 MiB, which goes to every node.  Others are sent again."""

_DIGEST_BYTES: Final = 16
_SALT_BYTES: Final = 16


class Known:
    """The files of one node that its caller has."""

    def __init__(self, told: bytes, node: bytes, *, least_bytes: int = KNOWN_BYTES_MIN) -> None:
        """told: the bytes from standard input; if they are malformed, they match nothing.  node: this node's path, as
        `1/7`.

        least_bytes: smaller files count as not known.
        """
        self._least_bytes = least_bytes
        self._salt, rest = told[:_SALT_BYTES], told[_SALT_BYTES:]
        self._node = node
        at = range(0, len(rest), _DIGEST_BYTES)
        self._digests = frozenset(rest[offset : offset + _DIGEST_BYTES] for offset in at)

    def has(self, path: bytes, size_bytes: int, mtime_ns: int) -> bool:
        """path: from the copy's own top."""
        if not self._digests or size_bytes < self._least_bytes:
            return False
        return _digest(self._salt, self._node, path, size_bytes, mtime_ns) in self._digests


def read_known(handle: int, node: bytes) -> Known:
    """Read all of a descriptor, and keep no more than a client may tell."""
    told = bytearray()
    while data := os.read(handle, 1 << 16):
        if len(told) < _SALT_BYTES + KNOWN_MAX * _DIGEST_BYTES:
            told += data
    return Known(bytes(told[: _SALT_BYTES + KNOWN_MAX * _DIGEST_BYTES]), node)


def told_of(places: Sequence[tuple[bytes, bytes]], top: bytes) -> bytes:
    """What the nodes are told.

    places: each node's path and the directory that has its files.  top: the name of what is copied.
    """
    salt = os.urandom(_SALT_BYTES)
    told = bytearray(salt)
    for node, directory in places:
        for path, size_bytes, mtime_ns in _files(directory, top):
            if len(told) >= _SALT_BYTES + KNOWN_MAX * _DIGEST_BYTES:
                return bytes(told)
            told += _digest(salt, node, path, size_bytes, mtime_ns)
    return bytes(told)


def told_of_files(files: Iterable[tuple[bytes, int, int]]) -> bytes:
    """The same for files by path, size and time, for a node without a path."""
    salt = os.urandom(_SALT_BYTES)
    return salt + b"".join(_digest(salt, b"", *file) for file in files)


def _files(directory: bytes, top: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Regular files, by their paths from the copy's top.  No link is followed; files that cannot be read are left
    out."""
    start = directory if top == ITSELF else directory + b"/" + top
    try:
        facts = os.stat(start, follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISREG(facts.st_mode):
        yield top, facts.st_size, facts.st_mtime_ns
    if not stat.S_ISDIR(facts.st_mode):
        return
    for here, _, names, handle in os.fwalk(start):
        for name in names:
            try:
                facts = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode) and facts.st_size >= KNOWN_BYTES_MIN:
                yield (here + b"/" + name)[len(directory) + 1 :], facts.st_size, facts.st_mtime_ns


def _digest(salt: bytes, node: bytes, path: bytes, size_bytes: int, mtime_ns: int) -> bytes:
    # No path has a NUL.
    said = b"%s\0%s\0%d %d" % (node, path, size_bytes, mtime_ns)
    return blake2b(said, digest_size=_DIGEST_BYTES, key=salt).digest()
