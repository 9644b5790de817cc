"""A root directory as a program in it would see it: every link is followed inside the root, never out of it.

Every lookup leaves a trace (`Traces`), so that a cache can tell later whether the answers would still be the same.
Paths are those inside the root; `host` turns one into the path to open.  This module does not guard against a root that
changes meanwhile: the caller reads with their own rights.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from errno import EACCES, ENAMETOOLONG, ENOENT, ENOTDIR
from functools import cached_property
from typing import Final

import msgspec

from gproc.bundle.cache import Attributes, Large, Many, PathStamp, Traces
from gproc.bundle.memo import Memo
from gproc.content.manifest import PATH_BYTES_MAX
from gproc.disk.mounted import mounts
from gproc.errors import BundleError
from gproc.shown import shown_text

LINKS_MAX: Final = 40
"""Links in one path before ELOOP: path_resolution(7)."""

_CLIMBS: Final = re.compile(r"^(?:/+\.{0,2}(?=/|$))*/*")
"""The head of an absolute path that only leads to the root."""
_NOT_FOUND: Final = (ENOENT, ENOTDIR, EACCES, ENAMETOOLONG)
"""Errors after which a linker or shell goes on to the next directory."""


class ImageLink(msgspec.Struct, frozen=True):
    """A symbolic link: its real path in the root, and a relative target that stays inside the root."""

    path: str
    target: str


class Walk(msgspec.Struct, frozen=True):
    """The end of a path.  real: the path without links; links: those on the way, in order."""

    real: str
    links: tuple[ImageLink, ...]
    status: os.stat_result


class Image:
    """The tree below one root directory.  memo: what is known about its ELF files."""

    def __init__(self, root: str = "/", memo: Memo | None = None) -> None:
        self.memo = memo or Memo()
        self._root = "" if root == "/" else os.path.realpath(root)
        self._stats: dict[str, os.stat_result | None] = {}
        self._directories: dict[str, Walk | None] = {}
        self._links: dict[str, str] = {}
        self._searched: dict[str, PathStamp] = {}
        self._contents: dict[str, PathStamp] = {}
        self._absent: set[str] = set()
        self._left: dict[Many | Large, None] = {}
        self._outputs: set[str] = set()

    def host(self, path: str) -> str:
        """The path to open; `path` must be real."""
        return self._root + path

    def shown(self, path: str) -> str:
        """The path as people outside the root would write it, in one line."""
        return shown_text(self._root + path)

    def lstat(self, path: str) -> os.stat_result | None:
        if path not in self._stats:
            try:
                self._stats[path] = os.lstat(self._root + path or "/")
            except OSError as error:
                if error.errno not in _NOT_FOUND:
                    raise
                self._stats[path] = None
        return self._stats[path]

    def walk(self, path: str) -> Walk | None:
        """Follow an absolute path to its end.  Returns None if it does not exist.

        Raises: BundleError if links form a loop.
        """
        head, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return self._walk(path)
        directory = self._directory(head)
        if directory is None:
            return None
        status = self.lstat(f"{directory.real.rstrip('/')}/{name}")
        if status is None:
            return None
        if stat.S_ISLNK(status.st_mode):
            return self._walk(path)
        return Walk(f"{directory.real.rstrip('/')}/{name}", directory.links, status)

    def glance(self, path: str) -> Walk | None:
        """The same for a path that a text may mean: None if it is no path, or leads nowhere or round in a loop."""
        if "\0" in path or len(path) > PATH_BYTES_MAX:
            return None
        try:
            return self.walk(path)
        except (BundleError, OSError):
            return None

    def is_file(self, path: str) -> bool:
        """Whether a path that a text may mean leads to a regular file."""
        walk = self.glance(path)
        return walk is not None and stat.S_ISREG(walk.status.st_mode)

    def is_readable(self, path: str) -> bool:
        """Whether a path leads to a regular file or a directory that the caller may read."""
        walk = self.walk(path)
        if walk is None or not (stat.S_ISREG(walk.status.st_mode) or stat.S_ISDIR(walk.status.st_mode)):
            return False
        return os.access(self.host(walk.real), os.R_OK, effective_ids=True)

    def note_absent(self, path: str) -> None:
        """Note that nothing is there, because the answers so far depend on that."""
        self._absent.add(path)

    def note_output(self, path: str) -> None:
        """Note that a file was left out because this command's output goes there."""
        self._outputs.add(path)

    def is_mount_point(self, path: str) -> bool:
        """Whether something is mounted at a real path, without asking it: it may be on a server that is gone."""
        return os.fsencode(self.host(path)) in self._mount_points

    @cached_property
    def _mount_points(self) -> frozenset[bytes]:
        return frozenset(mount.point for mount in mounts())

    def has_many(self, directory: str, names_max: int) -> bool:
        """Whether a directory has more names than this: seen without a record of all of them."""
        many = Many(os.fsencode(self.host(directory)), names_max)
        try:
            found = many.holds()
        except OSError:  # the caller may not read it, and neither may the program
            return False
        if found:
            self._left[many] = None
        return found

    def note_large(self, sizes: Mapping[str, int], bytes_max: int) -> None:
        """Note that files were left out because they are too much together.  sizes: by real path."""
        largest, total = [], 0
        for path in sorted(sizes, key=lambda each: -sizes[each]):
            if total <= bytes_max:
                largest.append(os.fsencode(self.host(path)))
                total += sizes[path]
        self._left[Large(tuple(largest), bytes_max)] = None

    def parent(self, path: str) -> str | None:
        """The path with its directory made real and its last component kept; None if the directory does not exist."""
        head, _, name = path.rpartition("/")
        directory = self._directory(head)
        return None if directory is None else f"{directory.real.rstrip('/')}/{name}"

    def search(self, directory: str, name: str) -> Walk | None:
        """The file `name` in a searched directory.  The trace shows it if the file appears later."""
        found = self._directory(directory.rstrip("/"))
        if found is None:
            return None
        self._trace_search(found.real)
        return self.walk(f"{directory.rstrip('/')}/{name}")

    def is_directory(self, path: str) -> bool:
        return self._directory(path.rstrip("/")) is not None

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted; none if there is no such directory."""
        found = self._directory(directory.rstrip("/"))
        if found is None:
            return []
        self._trace_search(found.real)
        return sorted(os.listdir(self.host(found.real)))

    def content(self, path: str, limit_bytes: int) -> bytes | None:
        """The first bytes of a configuration file; None if it does not exist."""
        walk = self.search(*os.path.split(path))
        if walk is None or not stat.S_ISREG(walk.status.st_mode):
            return None
        with open(self.host(walk.real), "rb", buffering=0) as file:
            self.trace_content(walk.real, os.fstat(file.fileno()))
            return file.read(limit_bytes)

    def text(self, real: str, limit_bytes: int) -> bytes:
        """The first bytes of a file that is packed, so that its content is traced anyway; b"" if it cannot be read."""
        try:
            with open(self.host(real), "rb", buffering=0) as file:
                return file.read(limit_bytes)
        except OSError:
            return b""

    def trace_content(self, path: str, status: os.stat_result) -> None:
        self._contents[path] = PathStamp.of(os.fsencode(self.host(path)), status)

    def traces(self) -> Traces:
        """Everything that the answers so far depend on."""
        exact = {**self._contents, **self._searched}
        attributes = []
        for path, known in self._stats.items():
            if path in exact or known is None:
                continue
            if stat.S_ISLNK(known.st_mode):
                exact[path] = PathStamp.of(os.fsencode(self.host(path)), known)
            elif stat.S_ISDIR(known.st_mode):
                attributes.append(Attributes.of(os.fsencode(self.host(path) or "/"), known))
        absent = tuple(os.fsencode(self.host(path)) for path in self._absent)
        outputs = tuple(os.fsencode(self.host(path)) for path in self._outputs)
        return Traces(tuple(exact.values()), tuple(attributes), absent, tuple(self._left), outputs)

    def _directory(self, path: str) -> Walk | None:
        if path not in self._directories:
            walk = self._walk(path or "/")
            self._directories[path] = walk if walk is not None and stat.S_ISDIR(walk.status.st_mode) else None
        return self._directories[path]

    def _trace_search(self, path: str) -> None:
        # Taken before the search: a file that appears during it must change the stamp.
        if path not in self._searched:
            host = self.host(path) if path != "/" else self._root or "/"
            self._searched[path] = PathStamp.of(os.fsencode(host), os.lstat(host))

    def _walk(self, path: str) -> Walk | None:
        todo = path.split("/")[::-1]
        real = ""
        links: list[ImageLink] = []
        status = self.lstat("")
        while todo and status is not None:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                real = real.rpartition("/")[0]
                status = self.lstat(real)
                continue
            here = f"{real}/{part}"
            status = self.lstat(here)
            if status is not None and stat.S_ISLNK(status.st_mode):
                if len(links) == LINKS_MAX:
                    raise BundleError(f"{self.shown(path)}: more than {LINKS_MAX} symbolic links: a loop")
                target = self._target(here)
                links.append(ImageLink(here, _relative(real, target)))
                if target.startswith("/"):
                    real = ""
                todo.extend(target.split("/")[::-1])
                status = self.lstat(real)
            elif status is not None:
                if todo and not stat.S_ISDIR(status.st_mode):
                    self._trace_search(here)
                    return None
                real = here
            else:
                self._absent.add(here)
        return None if status is None else Walk(real or "/", tuple(links), status)

    def _target(self, path: str) -> str:
        if path not in self._links:
            self._links[path] = os.readlink(self.host(path))
        return self._links[path]

    def link(self, path: str) -> ImageLink:
        """The link at a real path."""
        return ImageLink(path, _relative(path.rpartition("/")[0], self._target(path)))


def _relative(directory: str, target: str) -> str:
    """A link's target made relative, without climbs above the root, which in the root lead nowhere."""
    depth = directory.count("/")
    if target.startswith("/"):
        return "../" * depth + _CLIMBS.sub("", target) or "."
    parts = target.split("/")
    climbs = 0
    while climbs < len(parts) and parts[climbs] in ("..", "."):
        climbs += 1
    ups = parts[:climbs].count("..")
    return "/".join([".."] * min(ups, depth) + parts[climbs:]) if ups > depth else target
