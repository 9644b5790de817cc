"""Where a bundle's code lies, and by which other names a node may know those places.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gproc.content.manifest import Directory, File, Manifest, Symlink
from gproc.content.paths import within

_LIBC: Final = b"/libc.so.6"

LINKS_MAX: Final = 40
"""Links in one path before the kernel gives up with ELOOP: path_resolution(7)."""


class CodeLayout:
    """A manifest, read once for all the jobs that will need it.

    directories: the code directories that the bundle really has as directories: no link among them leads elsewhere.
    code: what lies in those: path of each file and link, and the deepest code directory that holds it.
    places: where unions may be needed: path on the node -> the bundle's directory that belongs there.  Each code
        directory, and its other names: where the bundle has a link /lib -> usr/lib, a node that never merged the
        two looks for /lib/x86_64-linux-gnu in a directory of its own.
    glibc: the set, with the links that lead into it.
    glibc_directories: all that hold some of it, at whatever depth.
    libc_names: where a node may have the counterpart of the bundle's libc; none where the bundle has no glibc.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._links = {entry.path: entry.target for entry in manifest.entries if isinstance(entry, Symlink)}
        self._files = frozenset(entry.path for entry in manifest.entries if isinstance(entry, File))
        real = {entry.path for entry in manifest.entries if isinstance(entry, Directory)}
        self.directories = tuple(path for path in manifest.code_dirs if path in real)
        self.code = tuple(
            (path, directory)
            for path in (*self._files, *self._links)
            if (directory := self.directory_of(path)) is not None
        )
        self.places = self._places()
        into = frozenset(manifest.glibc)
        self.glibc = into.union(link for link in self._links if into.intersection(self.chain(link)[-1:]))
        self.glibc_directories = frozenset(above for path in self.glibc for above in _above(path))
        self.libc_names = self._libc_names()

    def directory_of(self, path: bytes) -> bytes | None:
        """The deepest code directory that holds `path`."""
        return max((directory for directory in self.directories if within(path, directory)), key=len, default=None)

    def chain(self, path: bytes) -> tuple[bytes, ...]:
        """The bundle's entries by which `path` leads to a file: each link that is not a directory's, the file last.

        Empty where it leads to no file of the bundle.
        """
        met: list[bytes] = []
        for _ in range(LINKS_MAX):
            path = self._through_directories(path)
            met.append(path)
            if path not in self._links:
                return tuple(met) if path in self._files else ()
            path = _joined(path.rpartition(b"/")[0], self._links[path])
        return ()

    def _through_directories(self, path: bytes) -> bytes:
        """`path` with the links among its parent directories followed."""
        for _ in range(LINKS_MAX):
            at = path.find(b"/", 1)
            while at != -1 and path[:at] not in self._links:
                at = path.find(b"/", at + 1)
            if at == -1:
                break
            link = path[:at]
            path = _joined(link.rpartition(b"/")[0], self._links[link]).rstrip(b"/") + path[at:]
        return path

    def _places(self) -> dict[bytes, bytes]:
        found = {directory: directory for directory in self.directories}
        for link, leads in self._links.items():
            if link.count(b"/") == 1:
                target = _joined(b"", leads)
                for directory in self.directories:
                    if within(directory, target):
                        found[link + directory.removeprefix(target)] = directory
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


def _joined(directory: bytes, target: bytes) -> bytes:
    """A link's target, from the link's directory, without `.` and `..`."""
    parts: list[bytes] = []
    for part in (target if target.startswith(b"/") else directory + b"/" + target).split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)
