"""Files that every user of this machine may read, opened by a process that could read more.

A slave or master that is root compares its own files with those of a bundle, at paths that a user chose.  If it
compared any file, the user could test guesses at the content of a file that only others may read; and a FIFO, a
device or a FUSE file system could stop it.  So a file counts as public only if

- every directory on the way belongs to root or to this process's user, can be entered by everybody, and can be changed
  by its owner alone (or is sticky, as /tmp is);
- every link on the way, and the file, belongs to one of these two;
- it is a regular file that everybody may read and its owner alone may change.

A file that is not public counts as absent.  So a user learns only about files that this user may read, and no other
user can exchange a file after it was compared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from types import TracebackType
from typing import Final, NamedTuple

from gproc.disk.mounted import Mount, mounts
from gproc.disk.seen import SeenFiles

LINKS_MAX: Final = 40
"""Links in one path before the kernel gives up with ELOOP: path_resolution(7)."""

STEPS_MAX: Final = 256
"""Directories that one look-up enters, links included; a bundle's own paths have at most 128 parts."""

KEPT_MAX: Final = 256
"""Directories that stay open for the next look-up."""

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_HANDLE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class PublicDirectory(NamedTuple):
    """A public directory.  path: its real path, b"" for the top.  handle: an O_PATH descriptor of it."""

    path: bytes
    handle: int


class Nearest(NamedTuple):
    """How far a path leads through public directories.

    missing: how many of the last parts lead nowhere.  hidden: the next part is there, but it is not public.
    """

    place: PublicDirectory
    missing: int
    hidden: bool


class _Budget:
    """The directories and links that one look-up may still use."""

    def __init__(self) -> None:
        self.links = LINKS_MAX
        self.steps = STEPS_MAX


class PublicFiles:
    """The public files below `top`.  Holds descriptors: use it in a `with`, for one piece of work.

    seen: what all answers so far rest on, besides what is mounted.
    """

    def __init__(self, top: bytes = b"", mounted: Iterable[Mount] | None = None) -> None:
        """top: b"" for the root; tests take a directory that plays its part."""
        self.seen = SeenFiles(top)
        self._trusted = tuple({0, os.geteuid()})
        found = mounts() if mounted is None else mounted
        self._refused = frozenset(mount.device for mount in found if not mount.is_for_all(self._trusted))
        self._top = PublicDirectory(b"", os.open(top or b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self.seen.saw(b"", os.fstat(self._top.handle))
        self._kept: dict[bytes, PublicDirectory] = {}
        """The directories by real path."""
        self._found: dict[bytes, PublicDirectory] = {}
        """The directories by the path that was asked for: a bundle has a thousand files in one directory."""

    def __enter__(self) -> PublicFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        os.close(self._top.handle)

    def status(self, path: bytes) -> os.stat_result | None:
        """The status of the file or link at `path`, if its directory is public."""
        parent, _, name = path.rpartition(b"/")
        place = self.directory(parent)
        if place is None:
            return None
        try:
            return self._look(place, name)
        except OSError:
            return None

    def link_target(self, path: bytes) -> bytes | None:
        parent, _, name = path.rpartition(b"/")
        place = self.directory(parent)
        return None if place is None else self._target(place, name)

    def open(self, path: bytes, *, follow: bool = False) -> int | None:
        """A descriptor to read the public file at `path` by; the caller closes it.

        follow: whether the last part may be a link.
        """
        self._make_room()
        return self._open(self._top, path, _Budget(), follow=follow)

    def directory(self, path: bytes) -> PublicDirectory | None:
        """The public directory at `path`; its handle is good until the next call of any method."""
        self._make_room()
        found = self._found.get(path)
        if found is None:
            found = self._walk(self._top, path, _Budget())
            if found is not None:
                self._found[path] = found
        return found

    def nearest(self, path: bytes) -> Nearest:
        """The public directory at `path`, or the one from which it leads nowhere."""
        self._make_room()
        budget, place = _Budget(), self._top
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        while parts:
            name = parts.pop(0)
            if name == b"..":
                place = self._above(place)
                continue
            below = self._step(place, name, budget)
            if below is not None:
                place = below
                continue
            target = self._target(place, name)
            if target is None or budget.links <= 0:
                return Nearest(place, 1 + len(parts), self._is_hidden(place, name))
            # A link to what is missing: it leads to where that would be.
            budget.links -= 1
            place = self._top if target.startswith(b"/") else place
            parts = [part for part in target.split(b"/") if part not in (b"", b".")] + parts
        return Nearest(place, 0, False)

    def _look(self, place: PublicDirectory, name: bytes) -> os.stat_result:
        """Raises: OSError."""
        try:
            found = os.stat(name, dir_fd=place.handle, follow_symlinks=False)
        except OSError:
            self.seen.saw(place.path + b"/" + name, None)
            raise
        self.seen.saw(place.path + b"/" + name, found)
        return found

    def _handle(self, place: PublicDirectory, name: bytes) -> tuple[int, os.stat_result]:
        """A descriptor, which the caller closes.  Raises: OSError."""
        try:
            handle = os.open(name, _HANDLE, dir_fd=place.handle)
        except OSError:
            self.seen.saw(place.path + b"/" + name, None)
            raise
        try:
            found = os.fstat(handle)
        except OSError:
            os.close(handle)
            raise
        self.seen.saw(place.path + b"/" + name, found)
        return handle, found

    def _target(self, place: PublicDirectory, name: bytes) -> bytes | None:
        """None if this is no link, or the link of a user who is not trusted."""
        try:
            if self._look(place, name).st_uid not in self._trusted:
                return None
            return os.readlink(name, dir_fd=place.handle)
        except OSError:
            return None

    def _is_hidden(self, place: PublicDirectory, name: bytes) -> bool:
        """If a file is found in place of a directory, nothing is hidden: there is no directory."""
        try:
            found = self._look(place, name)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return not stat.S_ISREG(found.st_mode)

    def _open(self, start: PublicDirectory, path: bytes, budget: _Budget, *, follow: bool) -> int | None:
        parent, _, name = path.rpartition(b"/")
        place = self._walk(start, parent, budget)
        if place is None or name in (b"", b".", b".."):
            return None
        try:
            found, status = self._handle(place, name)
        except OSError:
            return None
        try:
            if stat.S_ISLNK(status.st_mode):
                if not follow or budget.links <= 0 or status.st_uid not in self._trusted:
                    return None
                budget.links -= 1
                target = os.readlink(b"", dir_fd=found)
                return self._open(self._top if target.startswith(b"/") else place, target, budget, follow=True)
            if not self._is_public_file(status):
                return None
            # By this name it is the very file that was looked at; it is regular, so nothing can make this wait.
            return os.open(b"/proc/self/fd/%d" % found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        finally:
            os.close(found)

    def _walk(self, start: PublicDirectory, path: bytes, budget: _Budget) -> PublicDirectory | None:
        place: PublicDirectory | None = start
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            if place is None:
                return None
            place = self._above(place) if name == b".." else self._step(place, name, budget)
        return place

    def _above(self, place: PublicDirectory) -> PublicDirectory:
        """Its real path has no links, so the directory above was kept when this one was entered."""
        above = place.path.rpartition(b"/")[0]
        return self._kept[above] if above else self._top

    def _step(self, place: PublicDirectory, name: bytes, budget: _Budget) -> PublicDirectory | None:
        """One part of a path further, through a link too."""
        path = place.path + b"/" + name
        if path in self._kept:
            return self._kept[path]
        budget.steps -= 1
        if budget.steps < 0:
            return None
        try:
            handle, status = self._handle(place, name)
        except OSError:
            return None
        if self._is_public_directory(status):
            below = self._kept[path] = PublicDirectory(path, handle)
            return below
        target = b""
        if stat.S_ISLNK(status.st_mode) and status.st_uid in self._trusted and budget.links > 0:
            target = os.readlink(b"", dir_fd=handle)
        os.close(handle)
        if not target:
            return None
        budget.links -= 1
        return self._walk(self._top if target.startswith(b"/") else place, target, budget)

    def _is_public_directory(self, status: os.stat_result) -> bool:
        mode = status.st_mode
        return (
            stat.S_ISDIR(mode)
            and bool(mode & stat.S_IXOTH)
            and (not mode & _OTHERS_WRITE or bool(mode & stat.S_ISVTX))
            and status.st_uid in self._trusted
            and status.st_dev not in self._refused
        )

    def _is_public_file(self, status: os.stat_result) -> bool:
        mode = status.st_mode
        return (
            stat.S_ISREG(mode)
            and bool(mode & stat.S_IROTH)
            and not mode & _OTHERS_WRITE
            and status.st_uid in self._trusted
            and status.st_dev not in self._refused
        )

    def _make_room(self) -> None:
        if len(self._kept) > KEPT_MAX or len(self._found) > KEPT_MAX:
            self._forget()

    def _forget(self) -> None:
        kept, self._kept, self._found = self._kept, {}, {}
        for place in kept.values():
            os.close(place.handle)
