"""What is in a store's directories, and how it is taken out of them, by any process of the store's user.

    roots/BUNDLE-UID-GID/           a complete bundle: `manifest`, `use` (its bytes and inodes), `tree/`; `payer` if it
                                    counts for another user than UID
    drafts/BUNDLE-UID-GID.RANDOM/   the same while one process receives it, and what is left of it if that was ended
    trash/                          what is being removed

Several processes share a store without a lock of its own: each change is one rename, and a lock (flock) on a bundle's
`manifest` says that a process uses it (shared) or receives it (exclusive).  The kernel releases the locks of a process
that is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import NamedTuple

from gproc.content import manifest as manifests
from gproc.disk.trees import remove_tree
from gproc.disk.trusted import make_directories, make_trusted
from gproc.errors import BundleError
from gproc.store.partial import Owner
from gproc.store.room import Disk, Use

FOLDERS = (b"/roots", b"/drafts", b"/trash")

HALF_MADE_S = 600
"""A draft without a manifest is being made just now, unless it is older than this."""


class Kept(NamedTuple):
    """A bundle or draft on the disk.  used_ns: when it was last used, Unix time.  payer: the uid that it counts for."""

    place: bytes
    use: Use
    used_ns: int
    payer: int

    @property
    def name(self) -> bytes:
        """BUNDLE-UID-GID"""
        return os.path.basename(self.place).partition(b".")[0]


class Inventory:
    """Looks into one store.  Remembers sizes and payers, which never change."""

    def __init__(self, place: bytes) -> None:
        self.place = place
        self._known: dict[bytes, tuple[Use, int]] = {}

    def roots(self) -> list[Kept]:
        """Least recently used first.  What is no bundle is left out."""
        return self._listed(b"/roots")

    def drafts(self) -> list[Kept]:
        """The drafts, whether or not they are being received."""
        return self._listed(b"/drafts")

    def broken(self) -> list[bytes]:
        """Incomplete entries, left by a process that was ended, or by a machine that died."""
        found = []
        for folder in (b"/roots", b"/drafts"):
            for name in _names(self.place + folder):
                place = self.place + folder + b"/" + name
                with contextlib.suppress(OSError):
                    old = time.time() - os.stat(place).st_mtime > HALF_MADE_S
                    if (folder == b"/roots" or old) and self._kept(place) is None:
                        found.append(place)
        return found

    def _listed(self, folder: bytes) -> list[Kept]:
        found = [self._kept(self.place + folder + b"/" + name) for name in _names(self.place + folder)]
        return sorted((each for each in found if each is not None), key=lambda each: each.used_ns)

    def _kept(self, place: bytes) -> Kept | None:
        try:
            used_ns = os.stat(place).st_mtime_ns
            known = self._known.get(place)
            if known is None:
                known = self._known[place] = (use_of(place), payer_of(place))
        except (OSError, ValueError, BundleError):
            self._known.pop(place, None)
            return None
        use, payer = known
        return Kept(place, use, used_ns, payer)


def make_folders(store: bytes) -> None:
    """Make what is missing: a cache may be cleared while slaves run.

    Raises: PermissionError if one of them belongs to another user, or another user could exchange it; OSError.
    """
    if reason := make_trusted(store, 0o700):
        raise PermissionError(
            errno.EPERM, f"{reason}, so others could exchange what jobs execute", os.fsdecode(store)
        )  # fmt: skip
    for folder in FOLDERS:
        make_directories(store + folder, 0o700)
        if os.lstat(store + folder).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "belongs to another user", os.fsdecode(store))


def disk_of(place: bytes) -> Disk:
    """Some file systems, as btrfs, make inodes as they are wanted and say 0.  Raises: OSError."""
    found = os.statvfs(place)
    endless = found.f_files == 0
    return Disk(
        Use(found.f_blocks * found.f_frsize, 1 << 62 if endless else found.f_files),
        Use(found.f_bavail * found.f_frsize, 1 << 62 if endless else found.f_favail),
    )


def key(bundle: bytes, owner: Owner) -> bytes:
    return f"{bundle.hex()}-{owner.uid}-{owner.gid}".encode()


def use_of(place: bytes) -> Use:
    """What a bundle takes when it is complete.  Raises: OSError, ValueError, BundleError."""
    try:
        with open(place + b"/use", "rb") as file:
            size_bytes, inodes = file.read(100).split()
        os.stat(place + b"/manifest")
        return Use(int(size_bytes), int(inodes))
    except FileNotFoundError:  # of an earlier version
        with open(place + b"/manifest", "rb") as file:
            manifest = manifests.decode(file.read())
        return Use(manifest.stored_bytes(), len(manifest.entries))


def payer_of(place: bytes) -> int:
    """Raises: OSError, ValueError."""
    try:
        with open(place + b"/payer", "rb") as file:
            return int(file.read(20))
    except FileNotFoundError:
        return int(os.path.basename(place).split(b"-")[1])


def disk_use(place: bytes) -> Use:
    """What a tree takes of its disk now: less than `use_of` while it is received."""
    total = count = 0
    for folder, _, files in os.walk(place):
        count += 1 + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(folder + b"/" + name).st_blocks * 512
    return Use(total, count)


def is_in_use(place: bytes) -> bool:
    """Whether a job uses a bundle, or a process receives it."""
    try:
        os.close(take(place))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def take(place: bytes) -> int:
    """Lock an unused bundle or draft, so that no process begins to use it.  Returns the handle that has the lock.

    Raises: BlockingIOError if it is in use; FileNotFoundError if it is not there, or has no manifest.
    """
    # On NFS an exclusive lock needs a descriptor that may write: flock(2).
    handle = os.open(place + b"/manifest", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        must_be_at(handle, place)
    except OSError:
        os.close(handle)
        raise
    return handle


def must_be_at(handle: int, place: bytes) -> None:
    """Raises: FileNotFoundError if `handle` is the manifest of what was at `place` before, and is gone or replaced."""
    if os.fstat(handle).st_ino != os.stat(place + b"/manifest").st_ino:
        raise FileNotFoundError(place)


def throw_away(store: bytes, place: bytes) -> bool:
    """Move a bundle or draft into the trash, unless it is in use.  Returns False if it is.  Raises: OSError."""
    try:
        handle = take(place)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    try:
        bury(store, place)
    finally:
        os.close(handle)
    return True


def bury(store: bytes, place: bytes) -> None:
    """Move something into the trash, even if jobs use it: they keep what they see.  Raises: OSError."""
    os.rename(place, store + b"/trash/" + os.path.basename(place) + b"." + os.urandom(4).hex().encode())


def empty_trash(store: bytes, at_once: int | None = None) -> list[bytes]:
    """Remove what is in the trash, except what a job still uses.

    at_once: the most entries to remove of one tree.  Returns the trees that have more, of which a part is removed.
    """
    large = []
    for name in _names(store + b"/trash"):
        grave = store + b"/trash/" + name
        if not is_in_use(grave) and not remove_tree(grave, at_once):
            large.append(grave)
    return large


def _names(folder: bytes) -> list[bytes]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
