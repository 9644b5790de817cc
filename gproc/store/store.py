"""The store on disk: complete bundles, which jobs see, and those that are being received (`gproc.store.inventory`).

The tree of a root is the only copy of its chunks: jobs see it, and children are sent chunks from it.  All slaves and
the master of one user on one machine share a store: each learns of the others' bundles when it looks for them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from gproc.content import manifest as manifests
from gproc.content.manifest import Digest, Manifest, digest_of
from gproc.disk.trees import remove_tree
from gproc.errors import BundleError, StoreError
from gproc.store import inventory
from gproc.store.inventory import Kept
from gproc.store.partial import INLINE_BYTES, Owner, PartialBundle, disk_error, read_verified
from gproc.store.recent import ReadManifest, RecentManifests
from gproc.store.room import Use
from gproc.store.root import Root, Stamps
from gproc.store.shelves import TRIES, Shelves

LONG_PATHS: Final = 2000
"""A root of more files takes more than some 5 ms to compare by stat: not in the event loop."""

VOUCHED_S: Final = 1.0
"""Seconds for which a comparison by another thread stays valid, for the callers that waited for it."""

AT_ONCE: Final = 200
"""Entries that are removed in the event loop, in some 5 ms; what a larger tree has more of takes a thread."""

LONG_MANIFEST_BYTES: Final = 200_000
"""A manifest of more takes more than some 5 ms to read."""


class Store:
    """The bundles of this machine and user, as one process sees them; other processes share them.

    Raises (all methods): StoreError if the disk fails.
    """

    def __init__(
        self, place: str, cap_bytes: int | None = None, cap_inodes: int | None = None, quota: Use | None = None
    ) -> None:
        """cap_bytes, cap_inodes: the most that may be kept; None: by the disk (`gproc.store.room.cap`).

        quota: the most that it may have for one user.
        """
        self.place = os.fsencode(place)
        self.payer_of: Callable[[bytes], int | None] = lambda _: None
        """The uid of a job with this bundle; what is received counts for that user, else for its owner."""
        self._shelves = Shelves(self.place, (cap_bytes, cap_inodes), quota)
        self._recent = RecentManifests()
        self._roots: dict[tuple[bytes, Owner], Root] = {}
        self._chunks: dict[Digest, tuple[bytes, int, int]] = {}
        self._found: dict[bytes, Root] = {}
        """Roots of other processes that another thread has read, and that were not asked for yet, by their places."""
        self._removals: list[threading.Thread] = []
        try:
            inventory.make_folders(self.place)
            for half in self._shelves.inventory.broken():
                with contextlib.suppress(OSError):
                    inventory.bury(self.place, half)
        except OSError as error:
            raise StoreError(f"store {place}: {error.strerror}; name another place with --store") from error
        self._on_idle()

    def find(self, bundle: bytes, owner: Owner) -> Root | None:
        """The root, if it is here and intact.  A root that was tampered with is thrown away."""
        for _ in range(TRIES):
            root = self._known(bundle, owner)
            if root is None:
                return None
            if time.monotonic() > root.vouched_until and not _intact(root):
                self.discard(root)
                continue
            try:
                os.utime(root.place)  # what was not used for the longest time is removed first
            except OSError:
                self._forget(root)
                continue
            return root
        return None

    def held(self, bundle: bytes, owner: Owner) -> Root | None:
        """The same, and kept from being removed until the caller releases it."""
        for _ in range(TRIES):
            root = self.find(bundle, owner)
            if root is None:
                return None
            try:
                root.hold()
            except OSError:  # another process has just removed it
                self._forget(root)
                continue
            return root
        return None

    def is_long(self, bundle: bytes, owner: Owner) -> bool:
        """Whether `find` would read, hash or compare for longer than an event loop may take."""
        root = self._known(bundle, owner, large=False)
        if root is None:
            return self._is_here(bundle, owner)
        if time.monotonic() <= root.vouched_until:
            return False
        if root.files > LONG_PATHS:
            return True
        if root.size_bytes <= INLINE_BYTES:
            return False
        try:
            same = root.compare()
        except OSError:
            return False
        if same:
            root.vouched_until = time.monotonic() + VOUCHED_S
        return same is None

    def check(self, bundle: bytes, owner: Owner) -> None:
        """Do now what `find` would have to; may run in another thread."""
        root = self._roots.get((bundle, owner))
        if root is None:
            place = self._place(bundle, owner)
            with contextlib.suppress(OSError, ValueError, BundleError, StoreError):
                root = self._found[place] = self._read(place)
        if root is not None and _intact(root):
            root.vouched_until = time.monotonic() + VOUCHED_S

    def look(self) -> None:
        """Read what other processes have put here; may run in another thread."""
        known = {root.place for root in list(self._roots.values())}
        for kept in self._shelves.inventory.roots():
            if kept.place not in known and kept.place not in self._found:
                with contextlib.suppress(OSError, ValueError, BundleError, StoreError):
                    self._found[kept.place] = self._read(kept.place)

    def any_root(self, bundle: bytes) -> Root | None:
        """A root of the bundle for some owner, if this process knows one; not compared."""
        return next((root for (digest, _), root in self._roots.items() if digest == bundle), None)

    def manifest(self, bundle: bytes) -> bytes | None:
        """The encoded manifest of a bundle that some owner has here."""
        root = self.any_root(bundle)
        with contextlib.suppress(OSError):  # another process has removed it
            return None if root is None else root.encoded
        return None

    def content(self, bundle: bytes) -> Manifest | None:
        """The same as a value."""
        root = self.any_root(bundle)
        with contextlib.suppress(OSError):
            return None if root is None else root.manifest
        return None

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
                    root.vouched_until = 0.0
        return data

    def holds(self, digest: Digest) -> bool:
        """Whether `read` is likely to find it."""
        return digest in self._chunks

    def partial(self, manifest: Manifest, encoded: bytes, owner: Owner) -> PartialBundle:
        """Begin to receive a bundle, or go on with an earlier try.  The caller has to call `lay_out`.

        Other processes may receive the same at the same time: each has a draft of its own.
        """
        self.take_in()
        need = Use(manifest.stored_bytes(), len(manifest.entries))
        bundle = digest_of(encoded)
        payer = self.payer_of(bundle)
        payer = owner.uid if payer is None else payer
        try:
            draft, lock = self._shelves.draft(inventory.key(bundle, owner), encoded, need, payer, self._remove)
        except OSError as error:
            raise disk_error("cannot begin a bundle", error, self.place) from error
        self._empty_trash()
        return PartialBundle(draft + b"/tree", manifest, encoded, owner, lock)

    def abandon(self, partial: PartialBundle) -> None:
        """Stop receiving.  What came stays for the next try, or until its room is needed: now, if the disk is full."""
        if partial.lock < 0:
            return
        lock, partial.lock = partial.lock, -1
        if partial.is_useless:
            with contextlib.suppress(OSError):
                inventory.bury(self.place, os.path.dirname(partial.tree))
        os.close(lock)
        self._on_idle()

    def drop(self, partial: PartialBundle) -> None:
        """Stop receiving, and keep nothing: another process was faster."""
        partial.is_useless = True
        self.abandon(partial)

    def location(self, digest: Digest) -> tuple[bytes, int, int] | None:
        """The file in which `read` would look for a chunk, with offset and length."""
        return self._chunks.get(digest)

    def root_around(self, path: bytes, owner: Owner) -> Root | None:
        """The root of this owner in which a file lies, if it is one that this process knows."""
        name = path.removeprefix(self._shelves.place_of(b"")).partition(b"/")[0]
        bundle, _, of = name.partition(b"-")
        if of != b"%d-%d" % owner:
            return None
        return self._roots.get((bytes.fromhex(bundle.decode()), owner))

    def offer(self, digest: Digest, location: tuple[bytes, int, int]) -> None:
        """Let `read` find a chunk of a bundle that is still being received."""
        self._chunks.setdefault(digest, location)

    def commit(self, partial: PartialBundle) -> Root:
        """Make a complete partial bundle a root, all at once.  It is held: the caller releases it.

        If `partial.is_large`, its `finish` is to be called before, in another thread.
        """
        stamps = partial.finish()
        place = self._place(digest_of(partial.encoded), partial.owner)
        read = ReadManifest(partial.manifest, partial.encoded)
        root = Root(place, read, partial.owner, self._recent, self._on_idle)
        try:
            fcntl.flock(partial.lock, fcntl.LOCK_SH)
            root.inode = os.fstat(partial.lock).st_ino
            self._shelves.move_in(os.path.dirname(partial.tree), place)
        except OSError as error:
            raise disk_error("cannot keep a bundle", error, self.place) from error
        lock, partial.lock = partial.lock, -1
        if (old := self._roots.get((root.bundle, root.owner))) is not None:
            self._forget(old)
        root.hold_by(lock)
        root.stamps = Stamps.of(stamps)
        self._enter(root)
        self._on_idle()
        return root

    def discard(self, root: Root) -> None:
        """Forget a root and remove it.  Running jobs keep their mounts of it."""
        self._forget(root)
        with contextlib.suppress(OSError):
            if os.stat(root.place + b"/manifest").st_ino != root.inode:
                return  # another process has put another there
        with contextlib.suppress(OSError):
            inventory.bury(self.place, root.place)
        self._empty_trash()

    def roots(self) -> list[Root]:
        """The roots that this process knows."""
        return list(self._roots.values())

    def tidy(self) -> None:
        """Remove what is kept beyond the cap.  What jobs use, and what is being received, stays."""
        if self._shelves.tidy(self._remove):
            self._empty_trash()

    def finish_removals(self) -> None:
        """Wait until other threads have removed what was thrown away.  To be called in a thread."""
        for thread in self._removals:
            thread.join()

    @property
    def is_removing(self) -> bool:
        self._removals = [thread for thread in self._removals if thread.is_alive()]
        return bool(self._removals)

    # What this process knows

    def _known(self, bundle: bytes, owner: Owner, *, large: bool = True) -> Root | None:
        """The root in this process's memory, else from the disk.  large: read it whatever its length."""
        root = self._roots.get((bundle, owner))
        if root is not None:
            return root
        place = self._place(bundle, owner)
        root = self._found.pop(place, None)
        if root is None:
            try:
                if not large and os.stat(place + b"/manifest").st_size > LONG_MANIFEST_BYTES:
                    return None
                root = self._read(place)
            except FileNotFoundError:
                return None
            except (OSError, ValueError, BundleError, StoreError):
                # The machine died while it was written, or the file is not ours.  The store is only a cache.
                with contextlib.suppress(OSError):
                    inventory.bury(self.place, place)
                self._empty_trash()
                return None
        self._enter(root)
        return root

    def _is_here(self, bundle: bytes, owner: Owner) -> bool:
        return os.path.exists(self._place(bundle, owner) + b"/manifest")

    def take_in(self) -> None:
        """Know what `look` has found."""
        for place in list(self._found):
            root = self._found.pop(place, None)
            if root is not None and (root.bundle, root.owner) not in self._roots:
                self._enter(root)

    def _read(self, place: bytes) -> Root:
        """Raises: OSError, ValueError, BundleError, StoreError."""
        name = os.path.basename(place)
        bundle, uid, gid = name.split(b"-")
        with open(place + b"/manifest", "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            encoded = file.read()
        os.stat(place + b"/tree")
        read = ReadManifest(manifests.decode(encoded), encoded)
        root = Root(place, read, Owner(int(uid), int(gid)), self._recent, self._on_idle)
        if root.bundle.hex().encode() != bundle:
            raise StoreError("its manifest is of another bundle")
        root.inode = inode
        return root

    def _enter(self, root: Root) -> None:
        self._roots[root.bundle, root.owner] = root
        for file in root.manifest.files():
            place = root.tree + file.path
            for digest, offset, length in file.chunks():
                self._chunks[digest] = (place, offset, length)

    def _forget(self, root: Root) -> None:
        if self._roots.get((root.bundle, root.owner)) is root:
            del self._roots[root.bundle, root.owner]
        inside = root.place + b"/"
        for digest in [digest for digest, (place, _, _) in self._chunks.items() if place.startswith(inside)]:
            del self._chunks[digest]

    # What is on the disk

    def _place(self, bundle: bytes, owner: Owner) -> bytes:
        return self._shelves.place_of(inventory.key(bundle, owner))

    def _remove(self, kept: Kept) -> bool:
        try:
            removed = inventory.throw_away(self.place, kept.place)
        except OSError:
            return False
        for root in self.roots():
            if removed and root.place == kept.place:
                self._forget(root)
        return removed

    def _on_idle(self) -> None:
        self._empty_trash()
        self.tidy()

    def _empty_trash(self) -> None:
        for grave in inventory.empty_trash(self.place, AT_ONCE):
            thread = threading.Thread(target=remove_tree, args=(grave,))
            self._removals.append(thread)
            thread.start()


def _intact(root: Root) -> bool:
    """Whether the root still is what was received.  It is hashed once, and compared by stat after that."""
    try:
        same = root.compare()
        return root.hash() if same is None else same
    except OSError:
        return False
