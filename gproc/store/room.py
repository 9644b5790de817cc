"""How much a store may keep, and what it may take for a while.  A rule.

What is *kept* has a cap: all complete bundles, and what was received of interrupted ones.  What jobs use, and what is
being received for them, may be more than that, as long as the disk has room: it is removed when the jobs have ended.
Bytes and inodes are counted alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol, TypeVar

KEPT_BYTES_MAX: Final = 4 << 30
KEPT_INODES_MAX: Final = 1 << 20
"""Without --store-size: files, links and directories in a store."""

DISK_SHARE: Final = 10
"""Without --store-size a store keeps at most a tenth of its disk.  What goes beyond its cap leaves a tenth free."""

FREE_SHARE: Final = 2
"""Without --store-size a store keeps at most half of what would be free without it: a disk that others fill is left
to them."""


class Use(NamedTuple):
    """What a tree takes, or what there is, of a disk."""

    size_bytes: int
    inodes: int

    def plus(self, other: Use) -> Use:
        return Use(self.size_bytes + other.size_bytes, self.inodes + other.inodes)

    def less(self, other: Use) -> Use:
        return Use(self.size_bytes - other.size_bytes, self.inodes - other.inodes)

    def fits(self, into: Use) -> bool:
        return self.size_bytes <= into.size_bytes and self.inodes <= into.inodes


NOTHING: Final = Use(0, 0)


ENDLESS: Final = 1 << 62


def quota(mib: int | None, inodes: int | None) -> Use | None:
    """What one user may have in a store; None if nothing is said of it."""
    if mib is None and inodes is None:
        return None
    return Use(ENDLESS if mib is None else mib << 20, ENDLESS if inodes is None else inodes)


class Disk(NamedTuple):
    """A file system: all that it can have, and what is free of it for this user."""

    whole: Use
    free: Use


class Removable(Protocol):
    """Something in a store that may be removed."""

    @property
    def use(self) -> Use: ...


R = TypeVar("R", bound=Removable)


def total(uses: Iterable[Use]) -> Use:
    whole = NOTHING
    for use in uses:
        whole = whole.plus(use)
    return whole


def least(one: Use, other: Use) -> Use:
    """In each respect the lesser."""
    return Use(min(one.size_bytes, other.size_bytes), min(one.inodes, other.inodes))


def over(use: Use, most: Use) -> Use:
    """What is too much of it."""
    return Use(max(0, use.size_bytes - most.size_bytes), max(0, use.inodes - most.inodes))


def cap(disk: Disk, kept: Use, asked: tuple[int | None, int | None]) -> Use:
    """The most that may be kept.  asked: what the user has said of bytes and inodes."""
    most = zip((KEPT_BYTES_MAX, KEPT_INODES_MAX), disk.whole, disk.free, kept, strict=True)
    usual = [min(limit, whole // DISK_SHARE, (free + here) // FREE_SHARE) for limit, whole, free, here in most]
    size_bytes, inodes = (own if said is None else said for own, said in zip(usual, asked, strict=True))
    return Use(size_bytes, inodes)


def lacking(need: Use, disk: Disk, busy: Use, most: Use) -> Use:
    """What must become free before something of size `need` may be received; nothing if it may be.

    busy: what jobs use and receive.  most: the cap.  Together with `need` they may take all of the disk up to the cap;
    beyond it, a tenth of the disk stays free for others.
    """
    size_bytes, inodes = (
        max(0, needed + (whole // DISK_SHARE if used + needed > limit else 0) - free)
        for needed, whole, free, used, limit in zip(need, disk.whole, disk.free, busy, most, strict=True)
    )
    return Use(size_bytes, inodes)


def is_roomy(need: Use, disk: Disk) -> bool:
    """Whether nothing can be `lacking`, whatever is busy."""
    return all(n + whole // DISK_SHARE <= free for n, whole, free in zip(need, disk.whole, disk.free, strict=True))


def remove_until(enough: Callable[[Use], bool], oldest_first: Iterable[R], remove: Callable[[R], bool]) -> Use:
    """Remove one after the other until `enough`, which is told what was removed so far.  Returns what was removed.

    remove: returns False if something is in use.
    """
    gone = NOTHING
    for each in oldest_first:
        if enough(gone):
            break
        if remove(each):
            gone = gone.plus(each.use)
    return gone
