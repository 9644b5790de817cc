"""The way down from one directory.  Descriptors, and never a path, say which directory we are in.

No symlink is followed.  To go back up, we walk down again from the first directory: a user who moves a directory
decides where its ".." leads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from gproc.copy.attributes import by_descriptor
from gproc.copy.staging import DIRECTORY
from gproc.copy.steps import ITSELF, Folder
from gproc.errors import GprocError
from gproc.shown import reason_of, shown

_OWNERS_ALL = 0o700


class WayLost(GprocError):
    """A directory was moved or exchanged while it was being written below: nothing more is written."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{shown(self.path)}: was moved or exchanged while it was being written below: {self.reason}"


class _Level(NamedTuple):
    """A directory that we are in, or one above it, as it was when we entered it.

    way: the names that lead to it from the base.  former_mode: the mode that it had, if its owner could not write into
    it and we changed that.
    """

    step: Folder | None
    device: int
    inode: int
    path: bytes
    way: tuple[bytes, ...]
    former_mode: int | None = None


class Descent:
    """Where we are below the directory `base`, a descriptor that we own from now on.  path: of base, for messages."""

    def __init__(self, base: int, path: bytes) -> None:
        self._base = base
        self._here = os.dup(base)
        facts = os.fstat(base)
        self._levels = [_Level(None, facts.st_dev, facts.st_ino, path, ())]

    @property
    def here(self) -> int:
        """The innermost directory, by an O_PATH descriptor that is good until `enter` or `leave`."""
        return self._here

    @property
    def path(self) -> bytes:
        return self._levels[-1].path

    @property
    def way(self) -> tuple[bytes, ...]:
        """The names that lead from the base to the innermost directory."""
        return self._levels[-1].way

    @property
    def step(self) -> Folder:
        """The step by which we entered the innermost directory."""
        step = self._levels[-1].step
        assert step is not None
        return step

    @property
    def depth(self) -> int:
        return len(self._levels) - 1

    def enter(self, step: Folder) -> None:
        """Go into a directory.  If it does not exist, it is made.  Raises: OSError."""
        path, way = self.path, self.way
        made = False
        if step.name == ITSELF:
            below = os.dup(self._here)
        else:
            path = path.rstrip(b"/") + b"/" + step.name
            way = (*way, step.name)
            below, made = self._opened(step.name)
        try:
            facts = os.fstat(below)
            former_mode = None if made else _open_for_its_owner(below, facts)
        except OSError:
            os.close(below)
            raise
        self._levels.append(_Level(step, facts.st_dev, facts.st_ino, path, way, former_mode))
        here, self._here = self._here, below
        os.close(here)

    def leave(self) -> None:
        """Go back to the directory above.  Raises: WayLost if it is not where it was."""
        levels = self._levels[:-1]
        try:
            above = self.reached(levels[-1].way)
            facts = os.fstat(above)
            if (facts.st_dev, facts.st_ino) != (levels[-1].device, levels[-1].inode):
                os.close(above)
                raise OSError(errno.ESTALE, "it is another one now")
        except OSError as error:
            raise WayLost(levels[-1].path, reason_of(error)) from error
        os.close(self._here)
        self._levels, self._here = levels, above

    def reached(self, way: Sequence[bytes]) -> int:
        """The directory to which these names lead from the base; the caller closes it.  Raises: OSError."""
        here = os.dup(self._base)
        try:
            for name in way:
                below = os.open(name, DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
        except OSError:
            os.close(here)
            raise
        return here

    def close(self) -> None:
        """Close the descriptors.  Directories whose modes we changed get their former modes back."""
        with suppress(OSError, WayLost):
            while True:
                if (mode := self._levels[-1].former_mode) is not None:
                    os.chmod(by_descriptor(self._here), mode)
                if not self.depth:
                    break
                self.leave()
        os.close(self._here)
        os.close(self._base)

    def _opened(self, name: bytes) -> tuple[int, bool]:
        """The directory of this name in the innermost one, and whether it was made."""
        made = True
        try:
            os.mkdir(name, 0o700, dir_fd=self._here)
        except FileExistsError:
            made = False
        try:
            below = os.open(name, DIRECTORY, dir_fd=self._here)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise OSError(error.errno, "not a directory, or a link; a directory cannot replace it") from error
            raise
        if made and os.fstat(below).st_uid != os.geteuid():
            os.close(below)
            raise OSError(errno.ESTALE, "it was exchanged while it was being made")
        return below, made


def _open_for_its_owner(handle: int, facts: os.stat_result) -> int | None:
    """Make our own directory writable for us.  Returns its former mode if that was necessary.

    For example, a second copy finds the mode 0555 that the first one set.  Root needs no mode bits, and other users'
    directories are not touched.
    """
    mode = stat.S_IMODE(facts.st_mode)
    if os.geteuid() == 0 or facts.st_uid != os.geteuid() or mode & _OWNERS_ALL == _OWNERS_ALL:
        return None
    os.chmod(by_descriptor(handle), mode | _OWNERS_ALL)
    return mode
