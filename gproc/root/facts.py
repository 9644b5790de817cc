"""What a plan needs to know about the node: which directories and files it has already.

Reads the node, changes nothing.  A `NodeFiles` lives as long as its slave and remembers digests by stat stamp.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from weakref import WeakKeyDictionary

import msgspec
from blake3 import blake3

from gproc.content.manifest import CHUNK_BYTES, Directory, Entry, File, Symlink
from gproc.root.code_layout import CodeLayout

_VERSION: Final = re.compile(rb"GNU C Library [^\n]{0,200}? version (\d+)\.(\d+)")
"""In libc's banner, which `/lib/x86_64-linux-gnu/libc.so.6` prints when it is run."""

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ: Final = stat.S_IROTH | stat.S_IXOTH

_CHILDREN_MAX: Final = 200
"""Each costs a job one bind mount, of some 10 us; /home of a large site has thousands."""

CodeStamp = tuple[int, int, int, int, int]
Brief = tuple[int, int, int] | None


class NodeDirectory(msgspec.Struct, frozen=True):
    """What the node has where the bundle has a directory: that directory, or its nearest ancestor.

    path: with all links resolved.  missing: how many of the place's last parts the node does not have.
    system: whether it may be covered: everybody may read it and root alone write to it, and not too many
        children would have to be put back.
    children: names of its own subdirectories (no links); only told where something is missing.
    mounts: what else is mounted below it, relative to it: a union shows what lies beneath those.
    """

    path: bytes
    missing: int
    system: bool
    children: tuple[bytes, ...] = ()
    mounts: tuple[bytes, ...] = ()


class NodeFacts(msgspec.Struct, frozen=True):
    """One node as one bundle finds it.

    namespaces, overlay: what the launcher can do here.
    directories: for each of the layout's places.
    identical: paths of the files and links in code directories that the node has, byte for byte and as accessible.
    has_loader, has_libc: whether something is at the path of the bundle's loader; of its libc, by any name.
    glibc_version: of that libc; (0, 0) where there is none.
    """

    namespaces: bool
    overlay: bool
    directories: Mapping[bytes, NodeDirectory] = {}
    identical: frozenset[bytes] = frozenset()
    has_loader: bool = False
    has_libc: bool = False
    glibc_version: tuple[int, int] = (0, 0)


class NodeFiles:
    """This node's file system, with a memory.  `top` is "/" or, for tests, a directory that plays its part."""

    def __init__(self, top: bytes = b"") -> None:
        self._top = top
        self._digests: dict[bytes, tuple[CodeStamp, bytes]] = {}
        self._versions: dict[bytes, tuple[CodeStamp, tuple[int, int]]] = {}
        self._compared: WeakKeyDictionary[CodeLayout, tuple[list[Brief], frozenset[bytes]]] = WeakKeyDictionary()

    def facts(self, layout: CodeLayout, *, namespaces: bool, overlay: bool) -> NodeFacts:
        """Look at all that matters for a bundle.  What cannot be read counts as absent."""
        manifest = layout.manifest
        mounts = list(self._mount_points())
        libc = next((name for name in layout.libc_names if os.path.exists(self._top + name)), b"")
        return NodeFacts(
            namespaces,
            overlay,
            {place: self._directory(place, mounts) for place in layout.places},
            self._identical(layout),
            bool(manifest.loader) and os.path.exists(self._top + manifest.loader),
            bool(libc),
            self.glibc_version(libc) if libc else (0, 0),
        )

    def _identical(self, layout: CodeLayout) -> frozenset[bytes]:
        """What of the bundle's code the node has; nothing is read again while no inode of it has changed."""
        briefs = [_brief(self._top + path) for path, _directory in layout.code]
        known = self._compared.get(layout)
        if known is not None and known[0] == briefs:
            return known[1]
        code = {path for path, _directory in layout.code}
        entries = layout.manifest.entries
        found = frozenset(entry.path for entry in entries if entry.path in code and self.has(entry))
        self._compared[layout] = briefs, found
        return found

    def has(self, entry: Entry) -> bool:
        """Whether the node has this file or link at its path already; False for a directory."""
        path = self._top + entry.path
        try:
            match entry:
                case Symlink():
                    return os.readlink(path) == entry.target
                case File():
                    found = os.stat(path, follow_symlinks=False)
                    wanted = entry.mode & 0o555
                    return (
                        stat.S_ISREG(found.st_mode)
                        and found.st_size == entry.size_bytes
                        and found.st_mode & wanted == wanted
                        and self._digests_of(path, found) == entry.digests
                    )
                case Directory():
                    return False
        except OSError:
            return False

    def glibc_version(self, libc: bytes) -> tuple[int, int]:
        """Of the file at `libc`; (0, 0) where that is no glibc."""
        path = self._top + libc
        try:
            stamp = _stamp(os.stat(path))
            known = self._versions.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with open(path, "rb") as file:
                banner = _VERSION.search(file.read())
        except OSError:
            return (0, 0)
        version = (int(banner[1]), int(banner[2])) if banner else (0, 0)
        self._versions[path] = (stamp, version)
        return version

    def _digests_of(self, path: bytes, found: os.stat_result) -> bytes:
        stamp = _stamp(found)
        known = self._digests.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        with open(path, "rb", buffering=0) as file:
            digests = b"".join(blake3(chunk).digest() for chunk in iter(lambda: file.read(CHUNK_BYTES), b""))
        self._digests[path] = (stamp, digests)
        return digests

    def _directory(self, place: bytes, mounts: Iterable[bytes]) -> NodeDirectory:
        # A link to what is missing, such as /lib64 of a node whose /usr is empty, leads to where it would be.
        real, missing = os.path.realpath(self._top + place), 0
        while not os.path.isdir(real):
            real, missing = real.rpartition(b"/")[0] or b"/", missing + 1
        found = os.stat(real)
        inside = real.rstrip(b"/") + b"/"
        rights = found.st_mode & (_OTHERS_READ | _OTHERS_WRITE)
        children = _subdirectories(real) if missing else ()
        return NodeDirectory(
            real,
            missing,
            found.st_uid == 0 and rights == _OTHERS_READ and len(children) <= _CHILDREN_MAX,
            children,
            tuple(point.removeprefix(inside) for point in mounts if point.startswith(inside)),
        )

    def _mount_points(self) -> Iterator[bytes]:
        with open("/proc/self/mountinfo", "rb") as mountinfo:
            for line in mountinfo:
                point = line.split(b" ", 5)[4]
                if b"\\" in point:
                    # Octal escapes for blank, tab, newline and backslash: proc_pid_mountinfo(5).
                    point = point.replace(b"\\040", b" ").replace(b"\\011", b"\t").replace(b"\\134", b"\\")
                yield point


def _brief(path: bytes) -> Brief:
    """What changes with an inode's content, mode and owner alike, or with the name: 2 us for each of 1,000 files."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_ctime_ns)


def _stamp(found: os.stat_result) -> CodeStamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _subdirectories(path: bytes) -> tuple[bytes, ...]:
    try:
        with os.scandir(path) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False)))
    except PermissionError:
        # Then it is no directory for everybody either.
        return ()
