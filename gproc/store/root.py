"""A complete bundle in the store, and its users."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from gproc.content.manifest import Directory, Manifest, digest_of
from gproc.store.inventory import must_be_at
from gproc.store.partial import InodeStamp, Owner, is_large, read_verified, stamp_of
from gproc.store.recent import ReadManifest, RecentManifests


class Stamps(NamedTuple):
    """The states of files, as digests: of all that stat(2) tells, and of that without the times of change."""

    all: bytes
    but_ctimes: bytes

    @classmethod
    def of(cls, stamps: Sequence[InodeStamp]) -> Stamps:
        """In an order that stays the same."""
        but_ctimes = [stamp[:-1] for stamp in stamps]
        return cls(*(digest_of(msgspec.msgpack.encode(each)) for each in (stamps, but_ctimes)))


class Root:
    """A complete bundle in the store.

    `stamps` tell the state of its files and links at the time when all were checked; None before that.  A job that is
    shown it must `hold` it.  The lock is shared, and other processes (slaves, `gproc store --prune`) see it as well.
    """

    def __init__(
        self,
        place: bytes,
        read: ReadManifest,
        owner: Owner,
        recent: RecentManifests,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """read: its manifest, which is kept by `recent` as long as it is used.

        on_idle: called when nothing in this process uses it any more.
        """
        self.tree = place + b"/tree"
        self.place = place
        self.bundle = digest_of(read.encoded)
        self.owner = owner
        self.size_bytes = read.manifest.size_bytes()
        self.is_large = is_large(read.manifest)
        self.files = sum(not isinstance(entry, Directory) for entry in read.manifest.entries)
        """Files and links."""
        self.stamps: Stamps | None = None
        self.vouched_until = 0.0
        """Time by time.monotonic() until which the root counts as intact."""
        self.inode = 0
        """The inode of its manifest: another process may have thrown it away and put another in its place."""
        self.users = 0
        self._lock = -1
        self._recent = recent
        self._on_idle = on_idle
        recent.keep(self.bundle, read)

    @property
    def manifest(self) -> Manifest:
        """Raises: OSError if it is gone, which cannot be as long as the root is held."""
        return self._recent.of(self.bundle, self.place + b"/manifest").manifest

    @property
    def encoded(self) -> bytes:
        """The manifest in the form that names the bundle.  Raises: OSError, as `manifest`."""
        return self._recent.of(self.bundle, self.place + b"/manifest").encoded

    def hold(self) -> None:
        """Keep the root from being removed.  Raises: OSError if it is gone."""
        if self._lock < 0:
            lock = os.open(self.place + b"/manifest", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # Another process that removes it has the lock for one rename.
                fcntl.flock(lock, fcntl.LOCK_SH)
                must_be_at(lock, self.place)
                if os.fstat(lock).st_ino != self.inode:
                    raise FileNotFoundError(self.place)
            except OSError:
                os.close(lock)
                raise
            self._lock = lock
        self.users += 1

    def hold_by(self, lock: int) -> None:
        """The same with a handle of its manifest that has the shared lock already."""
        self._lock = lock
        self.users += 1

    def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            os.close(self._lock)
            self._lock = -1
            self._on_idle()

    @contextlib.contextmanager
    def linked(self) -> Iterator[bool]:
        """A time in which its files are given further names.  That changes their ctime, and needs no new hashing.

        Gives whether it is what was received, as far as its stamps tell.  Raises: OSError if it is gone.
        """
        before = self._stamps_now()
        intact = before == self.stamps
        try:
            yield intact
            after = self._stamps_now()
            intact = intact and after.but_ctimes == before.but_ctimes
        except BaseException:
            intact = False
            raise
        finally:
            self.stamps = after if intact else None

    def relinked(self) -> None:
        """Its owner's copy may have given its files further names: the new ctime alone is no reason to throw it away.

        By such a name its owner may write to a file, and set its time back.  That deceives no other user: every other
        receiver of a chunk of it checks the digest.
        """
        with contextlib.suppress(OSError):
            linked = self._stamps_now()
            if self.stamps is not None and self.stamps.but_ctimes == linked.but_ctimes:
                self.stamps = linked

    def compare(self) -> bool | None:
        """Compare it by stat with what was received.  None: nothing but a ctime differs, or it was never hashed.

        Another process that shares the store may have given its files further names.  So may its owner, who may also
        have written by them and set the time back: only hashing tells.  Raises: OSError if a part of it is gone.
        """
        if self.stamps is None:
            os.stat(self.place + b"/manifest")
            return None
        now = self._stamps_now()
        if now == self.stamps:
            return True
        return None if now.but_ctimes == self.stamps.but_ctimes else False

    def hash(self) -> bool:
        """Hash all of it.  Returns whether it is what was received.  Raises: OSError."""
        before = self._stamps_now()
        for file in self.manifest.files():
            handle = os.open(self.tree + file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(handle).st_size != file.size_bytes:
                    return False
                if any(read_verified(handle, offset, n, digest) is None for digest, offset, n in file.chunks()):
                    return False
            finally:
                os.close(handle)
        for link in self.manifest.links():
            if os.readlink(self.tree + link.path) != link.target:
                return False
        self.stamps = before
        return True

    def _stamps_now(self) -> Stamps:
        entries = self.manifest.entries
        return Stamps.of([stamp_of(self.tree + entry.path) for entry in entries if not isinstance(entry, Directory)])
