"""The store on disk: `roots/<bundle>-<uid>-<gid>/{manifest,tree/}`, and `partials/` of the same form.

The tree of a root is the only copy of its chunks: jobs see it, and children are sent chunks from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

from gproc.content import manifest as manifests
from gproc.content.manifest import Digest, Directory, Manifest, digest_of
from gproc.disk.trees import remove_tree
from gproc.errors import BundleError, StoreError
from gproc.store.partial import INLINE_BYTES, InodeStamp, Owner, PartialBundle, read_verified, stamp_of

MAX_STORE_BYTES: Final = 4 << 30
DISK_SHARE: Final = 10
"""A store takes at most 4 GiB or a tenth of its disk, the smaller."""

MAX_STORE_INODES: Final = 1 << 20
"""Files, links and directories in a store, or a tenth of what its disk can have, the smaller."""


LONG_PATHS: Final = 2000
"""A root of more files takes more than some 5 ms to compare by stat: not in the event loop."""

VOUCHED_S: Final = 1.0
"""Seconds for which a comparison by another thread stays valid, for the callers that waited for it."""

AT_ONCE: Final = 1000
"""Entries that are removed in the event loop, in some 5 ms; a larger tree takes a thread."""


class Root:
    """A complete bundle in the store.

    `stamps` are the stats of its files and links at the time when all were checked; None before that.  A job that is
    shown it must `hold` it.  The lock is shared, and another process (`gproc store --prune`) sees it as well.
    """

    def __init__(self, place: bytes, manifest: Manifest, encoded: bytes, owner: Owner) -> None:
        self.tree = place + b"/tree"
        self.place = place
        self.manifest = manifest
        self.encoded = encoded
        self.bundle = digest_of(encoded)
        self.owner = owner
        self.size_bytes = manifest.size_bytes()
        self.paths = [self.tree + entry.path for entry in manifest.entries if not isinstance(entry, Directory)]
        self.stamps: list[InodeStamp] | None = None
        self.inodes = len(manifest.entries)
        self.vouched_until = 0.0
        """Time by time.monotonic() until which the root counts as intact."""
        self.users = 0
        self._lock = -1

    def hold(self) -> None:
        """Keep the root from being removed.  Raises: OSError if it is gone."""
        if self._lock < 0:
            lock = os.open(self.place + b"/manifest", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH)
                # Another process may have held the lock until now, and have removed the root.
                os.stat(self.place + b"/manifest")
            except OSError:
                os.close(lock)
                raise
            self._lock = lock
        self.users += 1

    @contextlib.contextmanager
    def linked(self) -> Iterator[None]:
        """A time in which its files are given further names.  That changes their ctime, and needs no new hashing.

        Raises: OSError if it is gone.
        """
        stamps, self.stamps = self.stamps, None
        intact = stamps is not None and _stamps(self) == stamps
        yield
        linked = _stamps(self)
        if intact and stamps is not None and [stamp[:-1] for stamp in stamps] == [stamp[:-1] for stamp in linked]:
            self.stamps = linked

    def relinked(self) -> None:
        """Its owner's copy may have given its files further names: the new ctime alone is no reason to throw it away.

        By such a name its owner may write to a file, and set its time back.  That deceives nobody else: every other
        receiver of a chunk of it checks the digest.
        """
        with contextlib.suppress(OSError):
            linked = _stamps(self)
            if self.stamps is not None and [s[:-1] for s in self.stamps] == [s[:-1] for s in linked]:
                self.stamps = linked

    def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            os.close(self._lock)
            self._lock = -1


class Store:
    """A node's roots.  One process has it: `open_store` locks it.

    Raises (all methods): StoreError if the disk fails.
    """

    def __init__(self, place: str, cap_bytes: int | None = None, cap_inodes: int | None = None) -> None:
        self.place = os.fsencode(place)
        self._roots: dict[tuple[bytes, Owner], Root] = {}
        self._chunks: dict[Digest, tuple[bytes, int, int]] = {}
        self._partials: dict[bytes, tuple[int, int]] = {}
        """Bytes and inodes of each partial bundle that is being received, by its place."""
        self._abandoned: dict[bytes, tuple[int, int]] = {}
        """The same for interrupted ones, which the next try goes on with."""
        self._graves: dict[bytes, Root] = {}
        """The roots that were thrown away while a job may still be shown them, by their places in the trash."""
        try:
            for folder in (b"/roots", b"/drafts", b"/trash"):
                os.makedirs(self.place + folder, 0o700, exist_ok=True)
            disk = os.statvfs(self.place)
            self._empty_trash()
            for name in os.listdir(self.place + b"/drafts"):
                self._abandoned[self.place + b"/drafts/" + name] = _disk_use(self.place + b"/drafts/" + name)
            names = sorted(os.listdir(self.place + b"/roots"), key=self._last_used)
        except OSError as error:
            raise StoreError(f"store {place}: {error.strerror}") from error
        self.cap_bytes = cap_bytes or default_cap_bytes(disk)
        self.cap_inodes = cap_inodes or default_cap_inodes(disk)
        for name in names:
            self._load(name)

    def find(self, bundle: bytes, owner: Owner) -> Root | None:
        """The root, if it is here and intact.  A root that was tampered with is thrown away."""
        root = self._roots.get((bundle, owner))
        if root is None:
            return None
        if time.monotonic() > root.vouched_until and not self._intact(root):
            self.discard(root)
            return None
        # Eviction takes the least recently used: the first in this dictionary and, after a restart, the oldest mtime.
        self._roots[bundle, owner] = self._roots.pop((bundle, owner))
        with contextlib.suppress(OSError):
            os.utime(root.place)
        return root

    def is_long(self, bundle: bytes, owner: Owner) -> bool:
        """Whether `find` would hash or compare for longer than an event loop may take."""
        root = self._roots.get((bundle, owner))
        if root is None or time.monotonic() <= root.vouched_until:
            return False
        return len(root.paths) > LONG_PATHS or (root.stamps is None and root.size_bytes > INLINE_BYTES)

    def check(self, bundle: bytes, owner: Owner) -> None:
        """Do now what `find` would have to; may run in another thread."""
        root = self._roots.get((bundle, owner))
        if root is not None and self._intact(root):
            root.vouched_until = time.monotonic() + VOUCHED_S

    def manifest(self, bundle: bytes) -> bytes | None:
        """The encoded manifest of a bundle that some owner has here."""
        return next((root.encoded for (digest, _), root in self._roots.items() if digest == bundle), None)

    def content(self, bundle: bytes) -> Manifest | None:
        """The same as a value."""
        return next((root.manifest for (digest, _), root in self._roots.items() if digest == bundle), None)

    def read(self, digest: Digest) -> bytes | None:
        """A chunk that some root holds, verified; None if none does."""
        location = self._chunks.get(digest)
        if location is None:
            return None
        place, offset, length = location
        try:
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            data = None
        else:
            try:
                data = read_verified(handle, offset, length, digest)
            finally:
                os.close(handle)
        if data is None:
            self._chunks.pop(digest, None)
            for root in self.roots():
                if place.startswith(root.tree + b"/"):
                    root.stamps = None  # its next use hashes it again
        return data

    def holds(self, digest: Digest) -> bool:
        """Whether `read` is likely to find it."""
        return digest in self._chunks

    def partial(self, manifest: Manifest, encoded: bytes, owner: Owner) -> PartialBundle:
        """Begin to receive a bundle, or go on with an earlier try.  The caller has to call `lay_out`."""
        place = self.place + b"/drafts/" + _key(digest_of(encoded), owner)
        self._make_room(manifest.size_bytes(), len(manifest.entries), place)
        try:
            os.makedirs(place + b"/tree", 0o700, exist_ok=True)
            os.chmod(place + b"/tree", 0o755)
            with open(place + b"/manifest", "wb") as file:
                file.write(encoded)
        except OSError as error:
            raise StoreError(f"cannot begin a bundle: {error.strerror}") from error
        self._abandoned.pop(place, None)
        self._partials[place] = manifest.size_bytes(), len(manifest.entries)
        return PartialBundle(place + b"/tree", manifest, encoded, owner)

    def abandon(self, partial: PartialBundle) -> None:
        """Stop receiving.  What came stays for the next try, or until its room is needed."""
        place = os.path.dirname(partial.tree)
        use = self._partials.pop(place, None)
        if use is not None:
            self._abandoned[place] = use

    def offer(self, digest: Digest, location: tuple[bytes, int, int]) -> None:
        """Let `read` find a chunk of a bundle that is still being received."""
        self._chunks.setdefault(digest, location)

    def commit(self, partial: PartialBundle) -> Root:
        """Make a complete partial bundle a root, all at once.

        If `partial.is_large`, its `finish` is to be called before, in another thread.
        """
        stamps = partial.finish()
        place = os.path.dirname(partial.tree)
        self._partials.pop(place, None)
        try:
            root = Root(
                self.place + b"/roots/" + os.path.basename(place), partial.manifest, partial.encoded, partial.owner
            )
            old = self._roots.get((root.bundle, root.owner))
            if old is not None:
                self.discard(old)
            os.rename(place, root.place)
        except OSError as error:
            raise StoreError(f"cannot keep a bundle: {error.strerror}") from error
        root.stamps = stamps
        self._enter(root)
        return root

    def discard(self, root: Root) -> None:
        """Forget a root and remove it.  Running jobs keep their mounts of it."""
        self._roots.pop((root.bundle, root.owner), None)
        inside = root.place + b"/"
        for digest in [digest for digest, (place, _, _) in self._chunks.items() if place.startswith(inside)]:
            del self._chunks[digest]
        self._throw_away(root.place, root)

    def roots(self) -> list[Root]:
        """Least recently used first."""
        return list(self._roots.values())

    def _enter(self, root: Root) -> None:
        self._roots[root.bundle, root.owner] = root
        for file in root.manifest.files():
            place = root.tree + file.path
            for digest, offset, length in file.chunks():
                self._chunks[digest] = (place, offset, length)

    def _load(self, name: bytes) -> None:
        place = self.place + b"/roots/" + name
        try:
            bundle, uid, gid = name.split(b"-")
            with open(place + b"/manifest", "rb") as file:
                encoded = file.read()
            root = Root(place, manifests.decode(encoded), encoded, Owner(int(uid), int(gid)))
            if root.bundle.hex().encode() != bundle:
                raise StoreError("its manifest is of another bundle")
        except (OSError, ValueError, BundleError, StoreError):
            # The machine died while it was written, or the file is not ours.  The store is only a cache.
            remove_tree(place)
            return
        self._enter(root)

    def _intact(self, root: Root) -> bool:
        """Whether the root still is what was received.  It is hashed once, and compared by stat after that."""
        try:
            if root.stamps is not None:
                return _stamps(root) == root.stamps
            for file in root.manifest.files():
                handle = os.open(root.tree + file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if os.fstat(handle).st_size != file.size_bytes:
                        return False
                    if any(read_verified(handle, offset, n, digest) is None for digest, offset, n in file.chunks()):
                        return False
                finally:
                    os.close(handle)
            for link in root.manifest.links():
                if os.readlink(root.tree + link.path) != link.target:
                    return False
            root.stamps = _stamps(root)
        except OSError:
            return False
        return True

    def _make_room(self, size_bytes: int, inodes: int, place: bytes) -> None:
        """Make room: remove first the partial bundles that are not being received, then the least recently used roots.

        What a job uses, and what is being received, stays.
        """
        if size_bytes > self.cap_bytes:
            raise StoreError(
                f"a bundle of {size_bytes} bytes, and the store may take {self.cap_bytes}: give it more by --store-size"
            )
        if inodes > self.cap_inodes:
            raise StoreError(f"a bundle of {inodes} files, and the store may take {self.cap_inodes}")
        held = [*self._partials.values(), *((root.size_bytes, root.inodes) for root in self._roots.values())]
        total, count = size_bytes + sum(use[0] for use in held), inodes + sum(use[1] for use in held)
        for other, use in list(self._abandoned.items()):
            if other != place and (total + use[0] > self.cap_bytes or count + use[1] > self.cap_inodes):
                del self._abandoned[other]
                self._throw_away(other)
        for root in self.roots():
            if total <= self.cap_bytes and count <= self.cap_inodes:
                return
            if root.users == 0:
                self.discard(root)
                total, count = total - root.size_bytes, count - root.inodes
        if total > self.cap_bytes or count > self.cap_inodes:
            raise StoreError(
                f"no room for a bundle of {size_bytes} bytes and {inodes} files: running jobs use the store, which may "
                f"take {self.cap_bytes} bytes and {self.cap_inodes} files; give it more by --store-size"
            )

    def _throw_away(self, place: bytes, root: Root | None = None) -> None:
        grave = self.place + b"/trash/" + os.path.basename(place) + os.urandom(4).hex().encode()
        with contextlib.suppress(OSError):
            os.rename(place, grave)
            if root is not None:
                self._graves[grave] = root
        self._empty_trash()

    def _last_used(self, name: bytes) -> float:
        try:
            return os.stat(self.place + b"/roots/" + name).st_mtime
        except OSError:
            return 0.0

    def _empty_trash(self) -> None:
        with contextlib.suppress(OSError):
            for name in os.listdir(self.place + b"/trash"):
                grave = self.place + b"/trash/" + name
                if (root := self._graves.get(grave)) is None or root.users == 0:
                    self._graves.pop(grave, None)
                    if not remove_tree(grave, AT_ONCE):
                        threading.Thread(target=remove_tree, args=(grave,)).start()


def default_cap_bytes(disk: os.statvfs_result) -> int:
    return min(MAX_STORE_BYTES, disk.f_blocks * disk.f_frsize // DISK_SHARE)


def default_cap_inodes(disk: os.statvfs_result) -> int:
    """Some file systems, as btrfs, make inodes as they are wanted and say 0."""
    return min(MAX_STORE_INODES, disk.f_files // DISK_SHARE or MAX_STORE_INODES)


def _disk_use(place: bytes) -> tuple[int, int]:
    """Bytes and inodes that a tree takes on its disk."""
    total = count = 0
    for folder, _, files in os.walk(place):
        count += 1
        for name in files:
            count += 1
            with contextlib.suppress(OSError):
                total += os.lstat(folder + b"/" + name).st_blocks * 512
    return total, count


def _key(bundle: bytes, owner: Owner) -> bytes:
    return f"{bundle.hex()}-{owner.uid}-{owner.gid}".encode()


def _stamps(root: Root) -> list[InodeStamp]:
    return [stamp_of(path) for path in root.paths]
