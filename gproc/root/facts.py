"""What a plan needs to know about the node: which directories and files it has already.

Reads the node, changes nothing, and opens only what every user may read, because all paths here come from users.
A `NodeFiles` lives as long as its slave and remembers digests by stat stamp.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from gproc.content.manifest import CHUNK_BYTES, Directory, Entry, File, Manifest, Symlink
from gproc.content.paths import within
from gproc.content.reading import digests_of
from gproc.disk.mounted import Mount, MountTable
from gproc.disk.public import PublicFiles
from gproc.disk.seen import Brief, SeenFiles, brief
from gproc.root.code_layout import CodeLayout, joined

_VERSION: Final = re.compile(rb"GNU C Library [^\n]{0,200}? version ([0-9]{1,9})\.([0-9]{1,9})")
"""In libc's banner, which `/lib/x86_64-linux-gnu/libc.so.6` prints when it is run."""

_LIBC_BYTES_MAX: Final = 16 << 20
"""A larger file is not searched for the banner.  This is eight times the size of glibc 2.41's libc."""

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ: Final = stat.S_IROTH | stat.S_IXOTH

_CHILDREN_MAX: Final = 200
"""The most children that are put back.  Each costs a job a bind mount of some 10 us; a large /home has thousands."""

CodeStamp = tuple[int, int, int, int, int]


class NodeDirectory(msgspec.Struct, frozen=True):
    """What the node has at the path of a directory of the bundle: that directory, or its nearest ancestor.

    path: with all links resolved.  missing: how many of the place's last parts the node does not have.
    system: whether it may be covered: root owns it and alone may write to it, all may read it, the same holds for
        the way to it, and not too many children would have to be put back.
    children: names of its own subdirectories (no links); empty if nothing is missing.
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
    identical: paths of the files and links in code directories, and of files in /, that the node has, byte for byte
        and as accessible.
    tops: entries of the root directory that the bundle or the working directory needs and the node does not have.
    links: those of the bundle's links outside of code directories that lead to the same place on the node.
    absent: those of the bundle's yielding files, and of those compared for `identical`, that the node does not have.
    held: those of the yielding files that it has, behind no link.
    has_cwd: whether every user can enter the caller's working directory.
    has_loader, has_libc: whether something is at the path of the bundle's loader; of its libc, by any name.
    glibc_version: of that libc; (0, 0) if there is none.
    """

    namespaces: bool
    overlay: bool
    directories: Mapping[bytes, NodeDirectory] = {}
    identical: frozenset[bytes] = frozenset()
    tops: frozenset[bytes] = frozenset()
    links: frozenset[bytes] = frozenset()
    absent: frozenset[bytes] = frozenset()
    held: tuple[bytes, ...] = ()
    has_cwd: bool = False
    has_loader: bool = False
    has_libc: bool = False
    glibc_version: tuple[int, int] = (0, 0)


class _Compared(msgspec.Struct, frozen=True):
    """briefs: of the paths that were compared, in their order.  identical, absent: as in NodeFacts."""

    briefs: list[Brief]
    identical: frozenset[bytes]
    absent: frozenset[bytes]


class _Known(msgspec.Struct, frozen=True):
    """The facts for one layout, and all that they rest on."""

    asked: tuple[bool, bool, bytes]
    mounted: tuple[Mount, ...]
    seen: SeenFiles
    facts: NodeFacts


class NodeFiles:
    """This node's public files (`gproc.disk.public`), with a memory.

    `top` is "/" or, for tests, a directory that plays its part.  A file that is not public counts as absent: a slave
    that is root tells no user about places that this user cannot look into.

    Any thread may ask: no memory is iterated over, and two that find out the same write the same down.
    """

    def __init__(self, top: bytes = b"") -> None:
        self._top = top
        self._digests: dict[bytes, tuple[CodeStamp, bytes]] = {}
        self._versions: dict[bytes, tuple[CodeStamp, tuple[int, int]]] = {}
        self._compared: WeakKeyDictionary[CodeLayout, _Compared] = WeakKeyDictionary()
        self._known: WeakKeyDictionary[CodeLayout, _Known] = WeakKeyDictionary()
        self._mount_table = MountTable()

    def bare(self, cwd: bytes, *, namespaces: bool, overlay: bool) -> NodeFacts:
        """The facts that matter for a job without a bundle."""
        with PublicFiles(self._top, self._mount_table.now()) as public:
            tops = self._missing_tops(public, (), cwd)
            return NodeFacts(namespaces, overlay, tops=tops, has_cwd=public.directory(cwd) is not None)

    def facts(self, layout: CodeLayout, *, namespaces: bool, overlay: bool, cwd: bytes = b"/") -> NodeFacts:
        """The facts that matter for a bundle: the same object as before, if all that they rest on is the same."""
        asked, mounted = (namespaces, overlay, cwd), self._mount_table.now()
        known = self._known.get(layout)
        if known is not None and known.asked == asked and known.mounted is mounted and known.seen.is_same():
            return known.facts
        with PublicFiles(self._top, mounted) as public:
            facts = self._found(public, layout, mounted, namespaces=namespaces, overlay=overlay, cwd=cwd)
        if public.seen.is_settled:
            self._known[layout] = _Known(asked, mounted, public.seen, facts)
        return facts

    def _found(
        self, public: PublicFiles, layout: CodeLayout, mounted: tuple[Mount, ...],
        *, namespaces: bool, overlay: bool, cwd: bytes,
    ) -> NodeFacts:  # fmt: skip
        manifest = layout.manifest
        versions = [version for name in layout.libc_names if (version := self._version(public, name)) is not None]
        compared = self._compare(public, layout)
        lent = (path for path in manifest.yielding if public.status(path) is None)
        return NodeFacts(
            namespaces,
            overlay,
            directories=self._directories(public, layout, [mount.point for mount in mounted], compared.identical),
            identical=compared.identical,
            tops=self._missing_tops(public, layout.tops, cwd),
            links=self._same_links(public, layout),
            absent=compared.absent.union(lent),
            held=self._held(public, manifest),
            has_cwd=public.directory(cwd) is not None,
            has_loader=bool(manifest.loader) and _exists(public, manifest.loader),
            has_libc=bool(versions),
            glibc_version=versions[0] if versions else (0, 0),
        )

    def has(self, entry: Entry) -> bool:
        """Whether the node has this file or link at its path already; False for a directory."""
        with PublicFiles(self._top) as public:
            return self._has(public, entry)

    def glibc_version(self, libc: bytes) -> tuple[int, int]:
        """The version of the file at `libc`; (0, 0) if it is no glibc."""
        with PublicFiles(self._top) as public:
            return self._version(public, libc) or (0, 0)

    def _directories(
        self, public: PublicFiles, layout: CodeLayout, points: Iterable[bytes], identical: frozenset[bytes]
    ) -> dict[bytes, NodeDirectory]:
        found = {place: self._directory(public, place, points) for place in layout.places}
        wanting = {directory for path, directory in layout.code if path not in identical}
        closed = {path for path in layout.inner if layout.directory_of(path) in wanting and _is_closed(public, path)}
        if closed:
            # A union would show what is in them with the rights that the bundle gives: overlayfs opens it as root.
            for place, source in layout.places.items():
                if any(within(path, source) for path in closed):
                    found[place] = msgspec.structs.replace(found[place], system=False)
        return found

    def _held(self, public: PublicFiles, manifest: Manifest) -> tuple[bytes, ...]:
        if not manifest.yielding:
            return ()
        links = {link.path for link in manifest.links()}
        return tuple(path for path in manifest.yielding if path not in links and self._holds(public, path))

    def _holds(self, public: PublicFiles, path: bytes) -> bool:
        parent, found = public.directory(path.rpartition(b"/")[0]), public.status(path)
        is_file = found is not None and stat.S_ISREG(found.st_mode)
        return is_file and parent is not None and parent.path == path.rpartition(b"/")[0]

    def _missing_tops(self, public: PublicFiles, tops: Iterable[bytes], cwd: bytes) -> frozenset[bytes]:
        wanted = {*tops, b"/" + cwd.split(b"/", 2)[1]} - {b"/"}
        return frozenset(path for path in wanted if public.status(path) is None)

    def _same_links(self, public: PublicFiles, layout: CodeLayout) -> frozenset[bytes]:
        return frozenset(link.path for link in layout.outer_links if self._has(public, link))

    def _compare(self, public: PublicFiles, layout: CodeLayout) -> _Compared:
        """The bundle's code beside the node's.  Nothing is read again until one of its inodes changes."""
        paths = [*(path for path, _directory in layout.code), *sorted(layout.top_files)]
        found = [public.status(path) for path in paths]
        briefs = list(map(brief, found))
        known = self._compared.get(layout)
        if known is not None and known.briefs == briefs:
            return known
        code = set(paths)
        entries = layout.manifest.entries
        identical = frozenset(entry.path for entry in entries if entry.path in code and self._has(public, entry))
        absent = frozenset(path for path, status in zip(paths, found, strict=True) if status is None)
        self._compared[layout] = compared = _Compared(briefs, identical, absent)
        return compared

    def _has(self, public: PublicFiles, entry: Entry) -> bool:
        match entry:
            case Symlink():
                target = public.link_target(entry.path)
                parent = entry.path.rpartition(b"/")[0]
                return target is not None and joined(parent, target) == joined(parent, entry.target)
            case File():
                found = public.status(entry.path)
                wanted = entry.mode & 0o555
                if found is None or found.st_size != entry.size_bytes or found.st_mode & wanted != wanted:
                    return False
                return self._digests_of(public, entry.path) == entry.digests
            case Directory():
                return False

    def _version(self, public: PublicFiles, libc: bytes) -> tuple[int, int] | None:
        """None if the node has nothing there; (0, 0) if that is no glibc."""
        handle = public.open(libc, follow=True)
        if handle is None:
            return None
        try:
            found = os.fstat(handle)
            known = self._versions.get(libc)
            if known is not None and known[0] == _stamp(found):
                return known[1]
            if found.st_size > _LIBC_BYTES_MAX:
                return (0, 0)
            version = glibc_banner(_content(handle, found.st_size)) or (0, 0)
        except OSError:
            return (0, 0)
        finally:
            os.close(handle)
        self._versions[libc] = (_stamp(found), version)
        return version

    def _digests_of(self, public: PublicFiles, path: bytes) -> bytes | None:
        handle = public.open(path)
        if handle is None:
            return None
        try:
            found = os.fstat(handle)
            known = self._digests.get(path)
            if known is not None and known[0] == _stamp(found):
                return known[1]
            digests = digests_of(handle, 0, found.st_size)
        except OSError:
            return None
        finally:
            os.close(handle)
        self._digests[path] = (_stamp(found), digests)
        return digests

    def _directory(self, public: PublicFiles, place: bytes, points: Iterable[bytes]) -> NodeDirectory:
        # A link to what is missing, such as /lib64 of a node whose /usr is empty, leads to where it would be.
        nearest = public.nearest(place)
        real = self._top + nearest.place.path or b"/"
        found = os.fstat(nearest.place.handle)
        inside = real.rstrip(b"/") + b"/"
        rights = found.st_mode & (_OTHERS_READ | _OTHERS_WRITE)
        children: tuple[bytes, ...] = ()
        if nearest.missing and not nearest.hidden:
            public.seen.listed(nearest.place.path, found)
            children = _subdirectories(nearest.place.handle)
        system = found.st_uid == 0 and rights == _OTHERS_READ and not nearest.hidden
        return NodeDirectory(
            real,
            nearest.missing,
            system and len(children) <= _CHILDREN_MAX,
            children,
            tuple(point.removeprefix(inside) for point in points if point.startswith(inside)),
        )


def glibc_banner(content: bytes) -> tuple[int, int] | None:
    """The version that a libc says of itself; None if it is no glibc."""
    banner = _VERSION.search(content)
    return (int(banner[1]), int(banner[2])) if banner else None


def _is_closed(public: PublicFiles, path: bytes) -> bool:
    """Whether the node has a directory there that not every user may enter."""
    found = public.status(path)
    return found is not None and stat.S_ISDIR(found.st_mode) and public.directory(path) is None


def _exists(public: PublicFiles, path: bytes) -> bool:
    handle = public.open(path, follow=True)
    if handle is not None:
        os.close(handle)
    return handle is not None


def _content(handle: int, size_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < size_bytes and (more := os.pread(handle, CHUNK_BYTES, len(data))):
        data += more
    return bytes(data)


def _stamp(found: os.stat_result) -> CodeStamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _subdirectories(place: int) -> tuple[bytes, ...]:
    try:
        here = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    except OSError:
        # Then not every user may read the directory either.
        return ()
    try:
        with os.scandir(here) as entries:
            names = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    finally:
        os.close(here)
    return tuple(sorted(names))
