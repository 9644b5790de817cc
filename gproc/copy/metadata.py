"""What a copy keeps besides the bytes: owner, mode, time and attributes.  They are set in an order that spoils none.

chown(2) removes set-id bits and file capabilities, and an access list changes the mode.  So the owner comes first, then
the attributes, then the mode.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from gproc.copy import attributes
from gproc.copy.attributes import ACCESS_LIST, DEFAULT_LIST, by_descriptor
from gproc.copy.steps import NUMBERED_FROM_NODE_MAX, NUMBERED_MAX, Folder, Leaf, Xattrs

STICKY_BITS: Final = 0o1777
ALL_BITS: Final = 0o7777
"""Every copy keeps these bits of a mode.  A file with a set-id bit gives rights away: only root's copy keeps that."""


class Keeps(NamedTuple):
    """What a writer keeps of the steps' metadata: bits of modes, and kinds of extended attributes.

    numbered_max: the most files of which further names may be expected at a time.
    """

    mode_bits: int
    attributes: tuple[bytes, ...]
    numbered_max: int


ROOTS_COPY: Final = Keeps(ALL_BITS, attributes.ROOTS, NUMBERED_MAX)
USERS_COPY: Final = Keeps(STICKY_BITS, attributes.USERS, NUMBERED_MAX)
"""Only root may give a program another user's rights, so other callers' copies keep no set-id bits."""
FROM_NODES: Final = Keeps(STICKY_BITS, attributes.HARMLESS, NUMBERED_FROM_NODE_MAX)


class Metadata:
    """Sets and compares the metadata that is kept.

    refused: called with the name of a file and the attribute that the file system did not take.
    """

    def __init__(self, keeps: Keeps, refused: Callable[[bytes, OSError], None]) -> None:
        self._keeps = keeps
        self._refused = refused
        self.privileged = os.geteuid() == 0

    def stands(self, facts: os.stat_result, mode: int, uid: int, gid: int, mtime_ns: int) -> bool:
        """Whether a file that is there has the kind, mode, owner and time that it should have."""
        owner = (uid, gid) if self.privileged else (os.geteuid(), facts.st_gid)
        return (facts.st_mode, (facts.st_uid, facts.st_gid), facts.st_mtime_ns) == (mode, owner, mtime_ns)

    def has_attributes(self, what: int | bytes, wanted: Xattrs) -> bool:
        return attributes.read(what, self._keeps.attributes) == self._kept_attributes(wanted)

    def finish_folder(self, here: int, step: Folder, wanted: Xattrs) -> None:
        """Set a directory's metadata by its name "." in itself: fchmod(2) and fchown(2) take no O_PATH descriptor.

        The mode comes last: after it, even the owner may not be able to go into the directory.
        """
        try:
            kept = self.own(b".", here, step.uid, step.gid)
            wanted = self._kept_attributes(wanted)
            names = {name for name, _ in wanted}
            inherited = [name for name in (ACCESS_LIST, DEFAULT_LIST) if name not in names]
            attributes.clear_lists(by_descriptor(here), *inherited)
            self.set_attributes(b"", by_descriptor(here) + b"/.", wanted)
            os.utime(b".", ns=(step.mtime_ns, step.mtime_ns), dir_fd=here)
            os.chmod(b".", self.kept_mode(step.mode, owner_kept=kept), dir_fd=here)
        except PermissionError:
            if os.fstat(here).st_uid == os.geteuid():
                raise
            # The directory belongs to another user, who lets us write into it.  Its mode and owner stay.

    def finish_file(self, handle: int, step: Leaf) -> None:
        kept = self.own(handle, None, step.uid, step.gid)
        self.set_attributes(step.name, handle, step.attributes)
        os.fchmod(handle, self.kept_mode(step.mode, owner_kept=kept))
        os.utime(handle, ns=(step.mtime_ns, step.mtime_ns))

    def set_attributes(self, name: bytes, what: int | bytes, wanted: Xattrs) -> None:
        """Set attributes after the owner, because chown(2) removes file capabilities, and before the mode."""
        if wanted:
            attributes.write(what, self._kept_attributes(wanted), lambda error: self._refused(name, error))

    def _kept_attributes(self, wanted: Xattrs) -> Xattrs:
        return tuple(each for each in wanted if attributes.kept(each[0], self._keeps.attributes))

    def own(self, what: bytes | int, at: int | None, uid: int, gid: int) -> bool:
        """Whether the file has the right owner; only root can give a file away (chown(2))."""
        if not self.privileged:
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

    def kept_mode(self, mode: int, *, owner_kept: bool) -> int:
        """A set-id bit is never kept without the owner that it stands for."""
        return mode & self._keeps.mode_bits & (ALL_BITS if owner_kept else STICKY_BITS)
