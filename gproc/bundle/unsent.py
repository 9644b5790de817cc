"""Files that a program names and a bundle does not have, so that a user need not learn it from a failure on a node.

A guess by the strings in the program's own file, as strings(1) shows them: what it makes up at run time is not found.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator
from typing import Final

import msgspec

from gproc.content.manifest import Manifest

SCANNED_BYTES: Final = 256 << 20
"""No more of a program is searched: half a second."""

NAMED_MAX: Final = 1000
"""The most names that are looked up; a program that names more is a list of files."""

_PATH: Final = re.compile(rb"(?<![\w./%-])/(?:bin|etc|lib\w*|opt|sbin|srv|usr|var|home|root)(?:/[\w.+@-]+)+")

_NODES_OWN: Final = re.compile(
    rb"/(?:etc|var|root|home)/|/usr/(?:local|include|lib/debug|share/(?:zoneinfo|locale))(?:/|$)"
    rb"|/(?:usr/)?bin/(?:sh|env)$|.*/ld-[^/]*\.so[^/]*$|.*/\.\."
)
"""Names that are left to the node, or that no program needs: configuration, data, time zones, debuggers' files, the
shell, loaders."""


class Unsent(msgspec.Struct, frozen=True):
    """named: files and directories that are here, and not in the bundle; a directory ends with a slash.

    opens_libraries: the program has dlopen(3), so it may load libraries that cannot be known before.
    """

    named: tuple[str, ...]
    opens_libraries: bool


def unsent(manifest: Manifest, root: str = "/") -> Unsent:
    """root: as of `gproc -r`.  Raises: OSError if the program cannot be read."""
    path = _below(root, manifest.program)
    with open(path, "rb") as file:
        size = min(os.fstat(file.fileno()).st_size, SCANNED_BYTES)
        if not size:
            return Unsent((), False)
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as text:
            names = sorted(dict.fromkeys(match.group() for match in _limited(_PATH.finditer(text))))
            opens = text.find(b"\0dlopen\0") >= 0
    sent = {entry.path for entry in manifest.entries}
    return Unsent(tuple(_named(names, sent, root)), opens)


def _limited(matches: Iterator[re.Match[bytes]]) -> Iterator[re.Match[bytes]]:
    for _, match in zip(range(NAMED_MAX), matches, strict=False):
        yield match


def _named(names: list[bytes], sent: set[bytes], root: str) -> Iterator[str]:
    whole = b"\0"
    for name in names:
        if name.startswith(whole):
            continue  # in a directory that is named itself
        path = _below(root, name)
        if name in sent or _NODES_OWN.match(name) or os.path.realpath(path) in sent:
            continue
        try:
            found = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield os.fsdecode(name)
        elif stat.S_ISDIR(found.st_mode) and name.count(b"/") > 2 and not _has_some_of(name, sent):
            whole = name + b"/"
            yield os.fsdecode(whole)


def _has_some_of(directory: bytes, sent: set[bytes]) -> bool:
    return any(path.startswith(directory + b"/") for path in sent)


def _below(root: str, path: bytes) -> bytes:
    return os.path.join(os.fsencode(root), path.lstrip(b"/"))
