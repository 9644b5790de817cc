"""Finds the directories of a bundle's code, and the other names by which a node may know them.  Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from gproc.content.manifest import Directory, File, Manifest, Symlink
from gproc.errors import LaunchError

_LIBC: Final = b"/libc.so.6"

LINKS_MAX: Final = 40
"""The most links in one path: with more, the kernel gives up with ELOOP, path_resolution(7)."""

STEPS_MAX: Final = 4_000_000
"""The most parts of paths that all look-ups in one bundle may read: some 2 s.  A usual bundle needs thousands."""

PLACES_MAX: Final = 1024
"""The most directories that a view may have to cover.  Each costs the node some 20 us a job, and 100 us if covered."""


class CodeLayout:
    """A manifest, read once for all the jobs that will need it.

    directories: the code directories that the bundle really has as directories: no link among them leads elsewhere.
    tops: the entries of the root directory, by path.
    top_files: the files among them, which no directory of code holds.
    inner: the directories below a code directory.
    code: what lies in those: path of each file and link, and the deepest code directory that holds it.
    outer_links: the links that are in no code directory.
    places: where unions may be needed: path on the node -> the bundle's directory that belongs there.  Each code
        directory, and its other names: if the bundle has a link /lib -> usr/lib, a node that never merged the two
        looks for /lib/x86_64-linux-gnu in a directory of its own.
    glibc: the set, with the links that lead into it.
    glibc_directories: all that hold some of it, at whatever depth.
    libc_names: where a node may have the counterpart of the bundle's libc; none if the bundle has no glibc.

    A user made the manifest.  Raises: LaunchError if it takes too much work.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._links = {entry.path: entry.target for entry in manifest.entries if isinstance(entry, Symlink)}
        self._files = frozenset(entry.path for entry in manifest.entries if isinstance(entry, File))
        self._resolved: dict[bytes, bytes | None] = {}
        self._crossed: dict[bytes, tuple[bytes, ...]] = {}
        """The links among a directory's parts, for each in `_resolved`."""
        self._steps = 0
        real = {entry.path for entry in manifest.entries if isinstance(entry, Directory)}
        self.directories = tuple(path for path in manifest.code_dirs if path in real)
        self._known = frozenset(self.directories)
        self.tops = {entry.path: entry for entry in manifest.entries if entry.path.count(b"/") == 1}
        self.top_files = frozenset(path for path in self.tops if path in self._files)
        self.inner = tuple(
            path for path in real if path not in self._known and self.directory_of(path) is not None
        )
        self.code = tuple(
            (path, directory)
            for path in (*self._files, *self._links)
            if (directory := self.directory_of(path)) is not None
        )
        inside = {path for path, _ in self.code}
        self.outer_links = tuple(
            entry for entry in manifest.entries if isinstance(entry, Symlink) and entry.path not in inside
        )
        self.places = self._places()
        into = frozenset(manifest.glibc)
        self.glibc = into.union(link for link in self._links if into and into.intersection(self.chain(link)[-1:]))
        self.glibc_directories = frozenset(above for path in self.glibc for above in _above(path))
        self.libc_names = self._libc_names()

    def directory_of(self, path: bytes) -> bytes | None:
        """The deepest code directory that holds `path`."""
        if not self._known:
            return None
        return next((above for above in (path, *_above(path)) if above in self._known), None)

    def files_in(self, inside: bytes) -> set[bytes]:
        """The files and links below a directory, whose path ends with a slash here."""
        return {path for each in (self._files, self._links) for path in each if path.startswith(inside)}

    def chain(self, path: bytes) -> tuple[bytes, ...]:
        """The bundle's entries by which `path` leads to a file: every link, those among its directories too, and the
        file last.

        Empty if it leads to no file of the bundle.
        """
        met: list[bytes] = []
        for _ in range(LINKS_MAX):
            directory = self.directory(path.rpartition(b"/")[0])
            if directory is None:
                return ()
            met += self._crossed[path.rpartition(b"/")[0]]
            path = directory + b"/" + path.rpartition(b"/")[2]
            met.append(path)
            if path not in self._links:
                return tuple(met) if path in self._files else ()
            path = joined(directory, self._links[path])
        return ()

    def directory(self, directory: bytes) -> bytes | None:
        """`directory` with its links followed; it need not be an entry.  None if there are more links than the kernel
        follows."""
        if directory in self._resolved:
            return self._resolved[directory]
        real, links = b"", 0
        crossed: list[bytes] = []
        parts = deque(directory.split(b"/"))
        while parts:
            self._steps += 1
            part = parts.popleft()
            if part in (b"", b"."):
                continue
            if part == b"..":
                real = real.rpartition(b"/")[0]
                continue
            target = self._links.get(real + b"/" + part)
            if target is None:
                real += b"/" + part
                continue
            links += 1
            if links > LINKS_MAX:
                self._resolved[directory] = None
                return None
            crossed.append(real + b"/" + part)
            real = b"" if target.startswith(b"/") else real
            further = target.split(b"/")
            self._steps += len(further)
            parts.extendleft(reversed(further))
        if self._steps > STEPS_MAX:
            raise LaunchError("the bundle's links lead through too many others")
        self._resolved[directory] = real
        self._crossed[directory] = tuple(crossed)
        return real

    def _places(self) -> dict[bytes, bytes]:
        """Raises: LaunchError if there are too many."""
        found = {directory: directory for directory in self.directories}
        below: dict[bytes, list[bytes]] = {}
        for directory in self.directories:
            for above in (directory, *_above(directory)):
                below.setdefault(above, []).append(directory)
        for link, leads in self._links.items():
            if link.count(b"/") != 1:
                continue
            target = joined(b"", leads)
            for directory in below.get(target, ()):
                found[link + directory.removeprefix(target)] = directory
            if len(found) > PLACES_MAX:
                raise LaunchError(f"the bundle has more than {PLACES_MAX} directories of code, by all their names")
        return found

    def _libc_names(self) -> tuple[bytes, ...]:
        libc = next((path for path in self.manifest.glibc if path.endswith(_LIBC)), None)
        if libc is None:
            return ()
        directory = libc.removesuffix(_LIBC)
        others = [place + _LIBC for place, source in self.places.items() if source == directory]
        return tuple(dict.fromkeys((libc, *others)))


def _above(path: bytes) -> Iterator[bytes]:
    """The directories that hold `path`, without the root."""
    while path := path.rpartition(b"/")[0]:
        yield path


def joined(directory: bytes, target: bytes) -> bytes:
    """A link's target, from the link's directory, without `.` and `..`."""
    parts: list[bytes] = []
    for part in (target if target.startswith(b"/") else directory + b"/" + target).split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)
