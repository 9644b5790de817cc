"""The one place that makes what steps speak of: below one directory, whole or not at all, and nowhere else.

Every name is used relative to an open directory, and no symlink is followed on the way down: DESIGN section 9 and
openat(2).  A file or link is made in a staging directory (`gproc.copy.staging`) and renamed into its place: whoever
else may write there can neither see half of it nor exchange it.  A process that is killed by SIGKILL leaves its
staging directory, `.gproc-...`, behind.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from gproc.copy.shown import shown
from gproc.copy.staging import DIRECTORY, STAGED, Staging
from gproc.copy.steps import ITSELF, Folder, Leaf, SymlinkStep
from gproc.errors import GprocError

Complain = Callable[[str], None]
"""Takes one line for people; the work goes on with what comes next."""

STICKY_BITS: Final = 0o1777
ALL_BITS: Final = 0o7777
"""Of a mode; with the set-id bits a file can give rights away, and only root's may."""


class WayLost(GprocError):
    """A directory was moved or exchanged while it was being written below: nothing more is written."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{shown(self.path)}: was moved or exchanged while it was being written below: {self.reason}"


class _Level(NamedTuple):
    """A directory that we are in, or above it: what it was when it was entered."""

    step: Folder | None
    device: int
    inode: int
    path: bytes


class Writer:
    """Carries steps out below the directory `base`, a descriptor that is the writer's from now on.

    path: of base, for messages.  mode_bits: those of a mode that are kept.  What fails is complained of with its
    path and passed over, a directory with all that is in it.  Owners are kept where the kernel lets us, modes and
    times always; of a directory that was there before, too, as far as it is ours: cp(1), -a.
    """

    def __init__(self, base: int, path: bytes, complain: Complain, *, mode_bits: int) -> None:
        self._base = base
        self._here = os.dup(base)
        facts = os.fstat(base)
        self._levels = [_Level(None, facts.st_dev, facts.st_ino, path)]
        self._complain = complain
        self._mode_bits = mode_bits
        self._privileged = os.geteuid() == 0
        self._staging = Staging()
        self._file = -1
        self._leaf: Leaf | None = None
        self._passed_over = 0

    def close(self) -> None:
        """Undo what is half done, and let go."""
        self.tear()
        with self._complaining(b""):
            self._staging.end(self._here)
        os.close(self._here)
        os.close(self._base)

    @property
    def depth(self) -> int:
        """Folders that are open."""
        return len(self._levels) - 1 + self._passed_over

    def folder(self, step: Folder) -> None:
        if self._passed_over:
            self._passed_over += 1
            return
        entered = False
        with self._complaining(step.name):
            self._staging.end(self._here)
            self._enter(step)
            entered = True
        if not entered:
            self._passed_over = 1

    def leave(self) -> None:
        """Raises: WayLost where the directory above is not where it was."""
        if self._passed_over:
            self._passed_over -= 1
            return
        step = self._levels[-1].step
        assert step is not None
        with self._complaining(b""):
            self._staging.end(self._here)
            self._finish_folder(step)
        self._levels.pop()
        above = self._reopened()
        os.close(self._here)
        self._here = above

    def link(self, step: SymlinkStep) -> None:
        if self._passed_over:
            return
        with self._complaining(step.name):
            self._check_no_directory(step.name)
            stage = self._staging.begin(self._here)
            try:
                os.symlink(step.target, STAGED, dir_fd=stage)
                self._own(STAGED, stage, step.uid, step.gid)
                os.utime(STAGED, ns=(step.mtime_ns, step.mtime_ns), dir_fd=stage, follow_symlinks=False)
                os.rename(STAGED, step.name, src_dir_fd=stage, dst_dir_fd=self._here)
            except OSError:
                self._staging.clear()
                raise

    def begin(self, step: Leaf) -> int | None:
        """Begin a file: the descriptor that its bytes go to; None where it is passed over.

        `keep` makes it appear in its place, `tear` drops it.
        """
        if self._passed_over:
            return None
        with self._complaining(step.name):
            self._check_no_directory(step.name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(STAGED, flags, 0o600, dir_fd=self._staging.begin(self._here))
            self._leaf = step
            return self._file
        return None

    def keep(self) -> None:
        """The file that was begun is whole."""
        if (step := self._leaf) is None:
            return
        with self._complaining(step.name):
            self._finish_file(self._file, step)
            handle, self._file = self._file, -1
            os.close(handle)  # which is where some file systems first say that the disk is full
            os.rename(STAGED, step.name, src_dir_fd=self._staging.handle, dst_dir_fd=self._here)
            self._leaf = None
        self.tear()

    def tear(self) -> None:
        """Drop the file that was begun, if there is one; what stood in its place stands there still."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._leaf is not None:
            with self._complaining(self._leaf.name):
                self._staging.clear()
            self._leaf = None

    def complain(self, name: bytes, error: OSError) -> None:
        """Of something in the directory where we are."""
        place = self._levels[-1].path
        path = place.rstrip(b"/") + b"/" + name if name and name != ITSELF else place
        self._complain(f"{shown(path)}: {error.strerror or error}")

    def standing(self, step: Leaf) -> int | None:
        """The regular file of this name and size that is there already, open for reading; None where none is."""
        if self._passed_over:
            return None
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(step.name, flags, dir_fd=self._here)
        except OSError:
            return None
        facts = os.fstat(handle)
        if stat.S_ISREG(facts.st_mode) and facts.st_size == step.size_bytes:
            return handle
        os.close(handle)
        return None

    def adopt(self, handle: int, step: Leaf) -> bool:
        """Whether a standing file is what the step says, or only its time had to be set; else it is to be made anew."""
        facts = os.fstat(handle)
        owner = (step.uid, step.gid) if self._privileged else (os.geteuid(), facts.st_gid)
        if (facts.st_uid, facts.st_gid) != owner or stat.S_IMODE(facts.st_mode) != step.mode & self._mode_bits:
            return False
        if facts.st_mtime_ns != step.mtime_ns:
            if facts.st_nlink > 1:
                # Its other names may be anywhere, and are none of our business.
                return False
            os.utime(handle, ns=(step.mtime_ns, step.mtime_ns))
        return True

    def _enter(self, step: Folder) -> None:
        path = self._levels[-1].path
        if step.name == ITSELF:
            below = os.dup(self._here)
        else:
            path = path.rstrip(b"/") + b"/" + step.name
            made = True
            try:
                os.mkdir(step.name, 0o700, dir_fd=self._here)
            except FileExistsError:
                made = False
            try:
                below = os.open(step.name, DIRECTORY, dir_fd=self._here)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise OSError(error.errno, "not a directory, or a link; a directory cannot replace it") from error
                raise
            if made and os.fstat(below).st_uid != os.geteuid():
                os.close(below)
                raise OSError(errno.ESTALE, "it was exchanged while it was being made")
        facts = os.fstat(below)
        self._levels.append(_Level(step, facts.st_dev, facts.st_ino, path))
        here, self._here = self._here, below
        os.close(here)

    def _reopened(self) -> int:
        """The directory that the levels lead to.  Not by "..": whoever moves a directory decides where that leads."""
        here = os.dup(self._base)
        try:
            for level in self._levels[1:]:
                if level.step is not None and level.step.name != ITSELF:
                    below = os.open(level.step.name, DIRECTORY, dir_fd=here)
                    os.close(here)
                    here = below
            facts = os.fstat(here)
            if (facts.st_dev, facts.st_ino) != (self._levels[-1].device, self._levels[-1].inode):
                raise OSError(errno.ESTALE, "it is another one now")
        except OSError as error:
            os.close(here)
            raise WayLost(self._levels[-1].path, error.strerror or str(error)) from error
        return here

    def _finish_folder(self, step: Folder) -> None:
        """By its name "." in itself: an O_PATH descriptor can be neither fchmod'ed nor fchown'ed (open(2))."""
        try:
            kept = self._own(b".", self._here, step.uid, step.gid)
            os.chmod(b".", self._kept_mode(step.mode, owner_kept=kept), dir_fd=self._here)
            os.utime(b".", ns=(step.mtime_ns, step.mtime_ns), dir_fd=self._here)
        except PermissionError:
            if os.stat(b".", dir_fd=self._here).st_uid == os.geteuid():
                raise
            # Somebody else's, who let us write into it: it stays as he has it.

    def _finish_file(self, handle: int, step: Leaf) -> None:
        kept = self._own(handle, None, step.uid, step.gid)
        os.fchmod(handle, self._kept_mode(step.mode, owner_kept=kept))
        os.utime(handle, ns=(step.mtime_ns, step.mtime_ns))

    def _own(self, what: bytes | int, at: int | None, uid: int, gid: int) -> bool:
        """Whether it belongs to whom it shall; nobody but root can give a file away (chown(2))."""
        if not self._privileged:
            return False
        try:
            if isinstance(what, int):
                os.fchown(what, uid, gid)
            else:
                os.chown(what, uid, gid, dir_fd=at, follow_symlinks=False)
        except OSError as error:
            # In a container root may lack CAP_CHOWN, or have no such user mapped: user_namespaces(7).
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            return False
        return True

    def _kept_mode(self, mode: int, *, owner_kept: bool) -> int:
        """A set-id bit is never kept without the owner that it stands for."""
        return mode & self._mode_bits & (ALL_BITS if owner_kept else STICKY_BITS)

    def _check_no_directory(self, name: bytes) -> None:
        """rename(2) would say so too, but only when all bytes have been written."""
        try:
            facts = os.stat(name, dir_fd=self._here, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory, which only a directory can replace")

    @contextmanager
    def _complaining(self, name: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.complain(name, error)


def open_directory(path: bytes) -> int:
    """A directory that the caller named: links in its own path are his, and followed."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
