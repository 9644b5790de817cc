"""The only module that makes files from steps: below one directory, each complete or not at all.

Every name is used relative to an open directory, and no symlink is followed on the way down: openat(2).  A file or link
is made in a staging directory (`gproc.copy.staging`) and then renamed into its place.  So another user who may write
there can neither see half of it nor exchange it.  A process that SIGKILL ends leaves its staging directory,
`.gproc-...`, behind.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from gproc.content.holes import Segment, segments
from gproc.copy.attributes import by_descriptor
from gproc.copy.descent import Descent
from gproc.copy.metadata import Keeps, Metadata
from gproc.copy.staging import STAGED, StagingDirectory
from gproc.copy.steps import (
    ITSELF,
    Folder,
    HardLink,
    Leaf,
    Leave,
    Special,
    SymlinkStep,
)
from gproc.shown import shown

Complain = Callable[[str], None]
"""Takes one line for people.  The work goes on with the next step."""


class _Numbered(NamedTuple):
    """A file of which further names may come: the way to its directory, its name, and its identity."""

    way: tuple[bytes, ...]
    name: bytes
    device: int
    inode: int


class Writer:
    """Carries steps out below the directory `base`, a descriptor that the writer owns from now on.

    path: of base, for messages.  If a step fails, the writer complains with its path and skips it, a directory with all
    of its content.  Owners are kept if the kernel allows it.  Modes and times are always kept, also for a directory of
    ours that was there before: cp(1), -a.
    """

    def __init__(self, base: int, path: bytes, complain: Complain, keeps: Keeps) -> None:
        self._descent = Descent(base, path)
        self._complain = complain
        self._keeps = keeps
        self._metadata = Metadata(keeps, self.complain)
        self._staging = StagingDirectory()
        self._file = -1
        self._leaf: Leaf | None = None
        self._has_holes = False
        self._passed_over = 0
        self._numbered: dict[int, _Numbered] = {}

    def close(self) -> None:
        """Remove an unfinished file, and close all descriptors."""
        self.tear()
        with self._complaining(b""):
            self._staging.end(self._descent.here)
        self._descent.close()

    @property
    def depth(self) -> int:
        """Folders that are open."""
        return self._descent.depth + self._passed_over

    def folder(self, step: Folder) -> None:
        if self._passed_over:
            self._passed_over += 1
            return
        entered = False
        with self._complaining(step.name):
            self._staging.end(self._descent.here)
            self._descent.enter(step)
            entered = True
        if not entered:
            self._passed_over = 1

    def leave(self, leave: Leave) -> None:
        """Raises: WayLost if the directory above is not where it was."""
        if self._passed_over:
            self._passed_over -= 1
            return
        with self._complaining(b""):
            self._staging.end(self._descent.here)
            self._metadata.finish_folder(self._descent.here, self._descent.step, leave.attributes)
        self._descent.leave()

    def link(self, step: SymlinkStep) -> None:
        if self._passed_over:
            return
        with self._complaining(step.name):
            facts = self._standing_facts(step.name)
            if facts is not None and self._link_stands(step, facts):
                self._number(step, facts)
                return
            with self._staged() as stage:
                os.symlink(step.target, STAGED, dir_fd=stage)
                self._metadata.own(STAGED, stage, step.uid, step.gid)
                self._metadata.set_attributes(step.name, by_descriptor(stage) + b"/" + STAGED, step.attributes)
                os.utime(STAGED, ns=(step.mtime_ns, step.mtime_ns), dir_fd=stage, follow_symlinks=False)
                self._number(step, os.stat(STAGED, dir_fd=stage, follow_symlinks=False))
                self._appear(step.name)

    def special(self, step: Special) -> None:
        """A FIFO, socket or device."""
        if self._passed_over:
            return
        with self._complaining(step.name):
            device = os.makedev(step.major, step.minor)
            facts = self._standing_facts(step.name)
            mode = step.mode & self._keeps.mode_bits
            if (
                facts is not None
                and self._metadata.stands(facts, step.kind | mode, step.uid, step.gid, step.mtime_ns)
                and facts.st_rdev == device
                and self._metadata.has_attributes(self._by_name(step.name), step.attributes)
            ):
                self._number(step, facts)
                return
            with self._staged() as stage:
                os.mknod(STAGED, step.kind | 0o600, device, dir_fd=stage)
                kept = self._metadata.own(STAGED, stage, step.uid, step.gid)
                self._metadata.set_attributes(step.name, by_descriptor(stage) + b"/" + STAGED, step.attributes)
                os.chmod(STAGED, self._metadata.kept_mode(step.mode, owner_kept=kept), dir_fd=stage)
                os.utime(STAGED, ns=(step.mtime_ns, step.mtime_ns), dir_fd=stage, follow_symlinks=False)
                self._number(step, os.stat(STAGED, dir_fd=stage, follow_symlinks=False))
                self._appear(step.name)

    def hard_link(self, step: HardLink) -> None:
        """Another name of a file that was written before.  It must still be that very file: its inode is compared."""
        if self._passed_over:
            return
        with self._complaining(step.name):
            first = self._numbered.pop(step.number, None)
            if first is None:
                raise OSError(errno.ENOENT, "is another name of a file that was not copied")
            if not step.last:
                self._numbered[step.number] = first
            standing = self._standing_facts(step.name)
            if standing is not None and (standing.st_dev, standing.st_ino) == (first.device, first.inode):
                return  # and rename(2) does nothing to two names of one file
            directory = self._descent.reached(first.way)
            try:
                with self._staged() as stage:
                    os.link(first.name, STAGED, src_dir_fd=directory, dst_dir_fd=stage, follow_symlinks=False)
                    facts = os.stat(STAGED, dir_fd=stage, follow_symlinks=False)
                    if (facts.st_dev, facts.st_ino) != (first.device, first.inode):
                        raise OSError(errno.ESTALE, f"its other name {shown(first.name)} is another file now")
                    self._appear(step.name)
            finally:
                os.close(directory)

    def begin(self, step: Leaf) -> int | None:
        """Begin a file.  Returns the descriptor for its bytes; None if the file is skipped.

        `keep` makes it appear in its place, `tear` drops it.
        """
        if self._passed_over:
            return None
        with self._complaining(step.name):
            self._standing_facts(step.name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(STAGED, flags, 0o600, dir_fd=self._staging.begin(self._descent.here))
            self._leaf = step
            self._has_holes = False
            return self._file
        return None

    def hole(self, length: int) -> None:
        """This many bytes of the begun file are a hole.  Raises: OSError."""
        os.lseek(self._file, length, os.SEEK_CUR)
        self._has_holes = True

    def keep(self) -> None:
        """The begun file is complete."""
        if (step := self._leaf) is None:
            return
        with self._complaining(step.name):
            if self._has_holes:
                os.ftruncate(self._file, step.size_bytes)  # it may end in a hole
            self._metadata.finish_file(self._file, step)
            self._number(step, os.fstat(self._file) if step.number else None)
            handle, self._file = self._file, -1
            os.close(handle)  # some file systems say only here that the disk is full
            self._appear(step.name)
            self._leaf = None
        self.tear()

    def same(self) -> None:
        """The begun file has the bytes of the file in its place, which keeps them if its metadata can be kept too."""
        if (step := self._leaf) is None:
            return
        with self._complaining(step.name):
            handle = self.standing(step)
            if handle is None:
                raise OSError(errno.ESTALE, "was changed here while it was being fetched: get it again")
            try:
                if os.fstat(handle).st_mtime_ns != step.mtime_ns:
                    raise OSError(errno.ESTALE, "was changed here while it was being fetched: get it again")
                if not self.adopt(handle, step):
                    self._copy(handle, step.size_bytes)
                    self.keep()
            finally:
                os.close(handle)
        self.tear()

    def _copy(self, source: int, size_bytes: int) -> None:
        """Fill the begun file from another one, holes and all."""
        for part in segments(source, size_bytes) or [Segment(0, size_bytes, False)]:
            if part.hole:
                self.hole(part.length)
                continue
            os.lseek(source, part.offset, os.SEEK_SET)
            left = part.length
            while left > 0:
                done = os.sendfile(self._file, source, None, left)
                if done == 0:
                    raise OSError(errno.EIO, "became shorter here while it was being copied")
                left -= done

    def tear(self) -> None:
        """Drop the begun file, if there is one.  A file that was in its place before stays there."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._leaf is not None:
            with self._complaining(self._leaf.name):
                self._staging.clear()
            self._leaf = None

    def complain(self, name: bytes, error: OSError) -> None:
        """Complain of a name in the innermost directory."""
        place = self._descent.path
        path = place.rstrip(b"/") + b"/" + name if name and name != ITSELF else place
        self._complain(f"{shown(path)}: {error.strerror or error}")

    def standing(self, step: Leaf) -> int | None:
        """The regular file of this name and size that is there already, open for reading; None if none is."""
        if self._passed_over:
            return None
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(step.name, flags, dir_fd=self._descent.here)
        except OSError:
            return None
        facts = os.fstat(handle)
        if stat.S_ISREG(facts.st_mode) and facts.st_size == step.size_bytes:
            return handle
        os.close(handle)
        return None

    def adopt(self, handle: int, step: Leaf) -> bool:
        """Whether the file that is there is what the step says, or only its time had to be set.  If not, replace it."""
        facts = os.fstat(handle)
        mode = stat.S_IFREG | step.mode & self._keeps.mode_bits
        if not self._metadata.stands(facts, mode, step.uid, step.gid, facts.st_mtime_ns):
            return False
        if not self._metadata.has_attributes(handle, step.attributes):
            return False
        if facts.st_mtime_ns != step.mtime_ns:
            if facts.st_nlink > 1:
                # Its other names may be anywhere.  We must not change them.
                return False
            os.utime(handle, ns=(step.mtime_ns, step.mtime_ns))
        self._number(step, facts)
        return True

    def _number(self, step: Leaf | SymlinkStep | Special, facts: os.stat_result | None) -> None:
        """Remember a file of which further names will come."""
        if not step.number or facts is None:
            return
        if len(self._numbered) >= self._keeps.numbered_max:
            raise OSError(errno.EMLINK, "too many files have further names")
        self._numbered[step.number] = _Numbered(self._descent.way, step.name, facts.st_dev, facts.st_ino)

    def adopt_link(self, step: Leaf, handle: int, directory: int, name: bytes) -> bool:
        """Give another file the step's place as a further name, if the file is exactly what the step says.

        handle: the file.  directory, name: where it is; nobody else can write to that directory.  If it cannot be
        linked, because it is on another file system or the kernel refuses, nothing is changed.
        """
        if self._passed_over or step.attributes:
            return False
        try:
            facts = os.fstat(handle)
            mode = stat.S_IFREG | step.mode & self._keeps.mode_bits
            owner = (step.uid, step.gid) if self._metadata.privileged else (os.geteuid(), os.getegid())
            if (
                not self._metadata.stands(facts, mode, *owner, step.mtime_ns)
                or facts.st_gid != owner[1]
                or os.listxattr(handle)
            ):
                return False
            self._standing_facts(step.name)
            with self._staged() as stage:
                os.link(name, STAGED, src_dir_fd=directory, dst_dir_fd=stage, follow_symlinks=False)
                linked = os.stat(STAGED, dir_fd=stage, follow_symlinks=False)
                if not os.path.samestat(linked, facts) or linked.st_nlink != facts.st_nlink + 1:
                    raise OSError(errno.EMLINK, "another process has linked it too")
                self._appear(step.name)
        except OSError:
            return False
        return True

    def _link_stands(self, step: SymlinkStep, facts: os.stat_result) -> bool:
        mode = stat.S_IFLNK | stat.S_IMODE(facts.st_mode)
        if not self._metadata.stands(facts, mode, step.uid, step.gid, step.mtime_ns):
            return False
        target = os.readlink(step.name, dir_fd=self._descent.here)
        if target != step.target:
            return False
        return not self._metadata.privileged or self._metadata.has_attributes(self._by_name(step.name), step.attributes)

    def _standing_facts(self, name: bytes) -> os.stat_result | None:
        """The state of the file of this name.  Raises: OSError for a directory, which rename(2) would not replace.

        rename(2) would report that too, but only after all bytes have been written.
        """
        try:
            facts = os.stat(name, dir_fd=self._descent.here, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory, which only a directory can replace")
        return facts

    def _by_name(self, name: bytes) -> bytes:
        return by_descriptor(self._descent.here) + b"/" + name

    def _appear(self, name: bytes) -> None:
        os.rename(STAGED, name, src_dir_fd=self._staging.handle, dst_dir_fd=self._descent.here)

    @contextmanager
    def _staged(self) -> Iterator[int]:
        """The staging directory.  If the block fails, it is emptied."""
        stage = self._staging.begin(self._descent.here)
        try:
            yield stage
        except OSError:
            with suppress(OSError):
                self._staging.clear()
            raise

    @contextmanager
    def _complaining(self, name: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.complain(name, error)


def open_directory(path: bytes) -> int:
    """Open a directory that the caller named.  Links in this path are the caller's choice, so they are followed."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
