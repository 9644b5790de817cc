"""The directories of a store that several processes share: what comes in, and what goes out to make room."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from typing import Final

from gproc.errors import OverQuota, StoreError
from gproc.shown import bytes_text
from gproc.store import inventory, room
from gproc.store.inventory import FOLDERS, Inventory, Kept, disk_use
from gproc.store.room import Use

TRIES: Final = 5
"""How often something is tried again that another process's removal, within a few microseconds, can disturb."""

Remove = Callable[[Kept], bool]
"""Removes something from the store; returns False if it is in use."""


class Shelves:
    """The directories of one store, with its cap."""

    def __init__(self, place: bytes, asked: tuple[int | None, int | None], quota: Use | None = None) -> None:
        """asked: the bytes and inodes that may be kept; None: by the disk.  quota: of each user; None: no bound."""
        self.place = place
        self._quota = quota
        self._unbounded = (0, os.geteuid())
        self.inventory = Inventory(place)
        self._asked = asked
        self._tidied: list[int] = []
        """The times of the directories when the store was last found to be within its cap."""

    def place_of(self, name: bytes) -> bytes:
        return self.place + b"/roots/" + name

    def draft(self, name: bytes, encoded: bytes, need: Use, payer: int, remove: Remove) -> tuple[bytes, int]:
        """A directory in which a bundle is received, new or of an interrupted try, and the handle that locks it.

        payer: the uid that it counts for.  Raises: StoreError if there is no room; OSError.
        """
        inventory.make_folders(self.place)
        draft, lock = self._resumed(name, encoded) or (b"", -1)
        if not draft:
            self._make_room_of(payer, need, remove)
            self._make_room(need, draft, remove)
            draft, lock = self._new_draft(name, encoded, need, payer)
        else:
            try:
                self._make_room(need.less(room.least(need, disk_use(draft))), draft, remove)
            except BaseException:
                os.close(lock)
                raise
        os.chmod(draft + b"/tree", 0o755)
        return draft, lock

    def tidy(self, remove: Remove) -> bool:
        """Remove what is kept beyond the cap: first what is left of interrupted drafts, then the least recently used.

        What jobs use, and what is being received, stays.  Returns whether something was removed.
        """
        with contextlib.suppress(OSError):
            now = [os.stat(self.place + folder).st_mtime_ns for folder in FOLDERS[:2]]
            if now == self._tidied:
                return False
            drafts = [each for each in self.inventory.drafts() if not inventory.is_in_use(each.place)]
            kept = [*drafts, *self.inventory.roots()]
            use = room.total(each.use for each in kept)
            most = room.cap(inventory.disk_of(self.place), use, self._asked)
            gone = room.remove_until(lambda gone: use.less(gone).fits(most), kept, remove)
            if gone == room.NOTHING and use.fits(most):
                self._tidied = now
            return gone != room.NOTHING
        return False

    def _resumed(self, name: bytes, encoded: bytes) -> tuple[bytes, int] | None:
        """A draft of this bundle that was interrupted, and the handle that locks it."""
        for kept in self.inventory.drafts():
            if kept.name == name:
                with contextlib.suppress(OSError):
                    lock = inventory.take(kept.place)
                    if os.pread(lock, len(encoded) + 1, 0) == encoded and os.path.isdir(kept.place + b"/tree"):
                        return kept.place, lock
                    os.close(lock)
                    inventory.throw_away(self.place, kept.place)
        return None

    def _new_draft(self, name: bytes, encoded: bytes, use: Use, payer: int) -> tuple[bytes, int]:
        """Raises: OSError."""
        for _ in range(TRIES):
            draft = self.place + b"/drafts/" + name + b"." + os.urandom(4).hex().encode()
            os.makedirs(draft + b"/tree", 0o700)
            lock = os.open(draft + b"/manifest", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                inventory.must_be_at(lock, draft)
            except (BlockingIOError, FileNotFoundError):  # another process takes it for one of a process that is gone
                os.close(lock)
                continue
            try:
                with open(lock, "wb", closefd=False) as file:
                    file.write(encoded)
                with open(draft + b"/use", "wb") as file:
                    file.write(b"%d %d\n" % use)
                if inventory.payer_of(draft) != payer:
                    with open(draft + b"/payer", "wb") as file:
                        file.write(b"%d\n" % payer)
            except OSError:
                inventory.bury(self.place, draft)
                os.close(lock)
                raise
            return draft, lock
        raise FileNotFoundError(errno.ENOENT, "other processes remove it", os.fsdecode(self.place))

    def move_in(self, draft: bytes, place: bytes) -> None:
        """Raises: OSError."""
        for _ in range(TRIES):
            try:
                os.rename(draft, place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return
            with contextlib.suppress(FileNotFoundError):
                inventory.bury(self.place, place)
        raise FileExistsError(errno.EEXIST, "other processes put it there", os.fsdecode(place))

    def _make_room_of(self, payer: int, need: Use, remove: Remove) -> None:
        """Keep a user within the quota: other bundles of the user go, the least recently used first.

        Two processes that begin at the same time may go beyond it by one bundle.
        Raises: OverQuota, and nothing is removed, if that is not enough.
        """
        if self._quota is None or payer in self._unbounded:
            return
        own = [each for each in (*self.inventory.drafts(), *self.inventory.roots()) if each.payer == payer]
        use = room.total(each.use for each in own)
        idle = [each for each in own if not inventory.is_in_use(each.place)]
        free = room.total(each.use for each in idle)
        over = room.over(use.plus(need), self._quota)
        if not over.fits(free):
            busy = use.less(free)
            raise OverQuota(
                f"{bytes_text(need.size_bytes)} in {need.inodes} files are more than uid {payer} may have in a store: "
                f"the policy allows {_amount(self._quota)}, and jobs use {_amount(busy)} or did so a moment ago"
            )
        room.remove_until(over.fits, idle, remove)

    def _make_room(self, need: Use, own: bytes, remove: Remove) -> None:
        """Make room for a bundle, and remove no more than that takes.  own: its draft, if there is one already.

        Raises: StoreError, and nothing is removed, if there is not enough room; OSError.
        """
        drafts = [each for each in self.inventory.drafts() if each.place != own]
        live = [each for each in drafts if inventory.is_in_use(each.place)]
        disk = inventory.disk_of(self.place)
        if room.is_roomy(need.plus(room.total(each.use for each in live)), disk):
            return
        roots = self.inventory.roots()
        used = [each for each in roots if inventory.is_in_use(each.place)]
        outstanding = room.total(each.use.less(room.least(each.use, disk_use(each.place))) for each in live)
        disk = disk._replace(free=disk.free.less(outstanding))
        idle = [each for each in (*drafts, *roots) if each not in live and each not in used]
        busy = room.total(each.use for each in (*live, *used))
        kept = room.total(each.use for each in idle)
        most = room.cap(disk, busy.plus(kept), self._asked)
        lacking = room.lacking(need, disk, busy, most)
        if not lacking.fits(kept):
            raise StoreError(
                f"no room for a bundle of {bytes_text(need.size_bytes)} in {need.inodes} files: the disk of the store "
                f"{os.fsdecode(self.place)} has {bytes_text(max(0, disk.free.size_bytes))} and {disk.free.inodes} "
                "files free, and a tenth of it is not used beyond --store-size: make room there, or give the node "
                "another --store"
            )
        room.remove_until(lacking.fits, idle, remove)


def _amount(use: Use) -> str:
    """A quota, or what is used, in words."""
    parts = [] if use.size_bytes == room.ENDLESS else [bytes_text(use.size_bytes)]
    return " in ".join(parts + ([] if use.inodes == room.ENDLESS else [f"{use.inodes} files"]))
