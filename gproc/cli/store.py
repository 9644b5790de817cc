"""`gproc store`: shows what this machine's store keeps, and makes room in them.  No cluster is needed."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from gproc.cli.options import StoreOptions
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.content import manifest as manifests
from gproc.content.manifest import Manifest
from gproc.errors import BundleError, StoreError
from gproc.shown import bytes_text, shown_text
from gproc.store import room
from gproc.store.inventory import Inventory, Kept, disk_of, empty_trash, is_in_use, throw_away
from gproc.store.opening import default_base
from gproc.store.room import Use


class StoredBundle(msgspec.Struct, frozen=True):
    """A bundle in a store.

    used_s: when a job last had it, Unix time.  state: in use, arriving, interrupted, or empty.
    """

    place: str
    bundle: str
    program: str
    owner: int
    files: int
    size_bytes: int
    used_s: float
    in_use: bool
    state: str


class Shelf(NamedTuple):
    """One store, and what is in it."""

    place: str
    kept: list[Kept]
    """Interrupted drafts first, then bundles, the least recently used first."""
    arriving: list[Kept]

    @property
    def use(self) -> Use:
        return room.total(each.use for each in self.kept)


def run(options: StoreOptions) -> int:
    trace = Trace(options.debug)
    base = options.store or default_base(os.environ)
    shelves = [shelf_at(place) for place in stores_below(base)]
    if options.store and not shelves:
        raise StoreError(f"there is no store at or below {base}: a slave or master with --store={base} makes one")
    trace.step(f"found {len(shelves)} stores below {base}")
    for shelf in shelves:
        trace.step(f"{shelf.place} has {len(shelf.kept) + len(shelf.arriving)} bundles")
    if options.prune_bytes is not None:
        _prune(shelves, options.prune_bytes, trace)
        return 0
    rows = [row for shelf in shelves for row in rows_of(shelf)]
    if options.json:
        rows = [msgspec.structs.replace(each, place=_text(each.place), program=_text(each.program)) for each in rows]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n")
        return 0
    cells = [
        (
            each.place,
            each.bundle[:12],
            each.program,
            str(each.owner),
            str(each.files),
            bytes_text(each.size_bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(each.used_s)),
            each.state,
        )
        for each in sorted(rows, key=lambda each: (each.place, -each.used_s))
    ]
    head = ("STORE", "BUNDLE", "PROGRAM", "UID", "FILES", "SIZE", "LAST USED", "NOW")
    sys.stdout.write(table(head, cells, right=("UID", "FILES", "SIZE")))
    print()
    for shelf in shelves:
        print(_limits(shelf))
    whole = room.total(shelf.use for shelf in shelves)
    print(f"{len(rows)} bundles, {bytes_text(whole.size_bytes)}, below {shown_text(base)}")
    return 0


def _text(path: str) -> str:
    """A path for JSON, which has only text: other bytes are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _limits(shelf: Shelf) -> str:
    disk = disk_of(os.fsencode(shelf.place))
    most = room.cap(disk, shelf.use, (None, None))
    return (
        f"{shown_text(shelf.place)}: {bytes_text(shelf.use.size_bytes)} and {shelf.use.inodes} files are kept, without "
        f"--store-size at most {bytes_text(most.size_bytes)} and {most.inodes}; {bytes_text(disk.free.size_bytes)} are "
        "free on its disk"
    )


def stores_below(base: str) -> list[str]:
    """Every directory at or below `base`, two levels deep, that is a store; earlier versions had one for each slave.

    Raises: StoreError if there are only stores that we may not look into.
    """
    found = []
    closed = []
    for place in (base, *_subdirectories(base), *(d for s in _subdirectories(base) for d in _subdirectories(s))):
        roots = os.path.join(place, "roots")
        if os.path.isdir(roots) and os.access(roots, os.R_OK | os.X_OK):
            if os.path.isdir(os.path.join(place, "trash")):
                found.append(place)
        elif os.path.isdir(place if not os.path.isdir(roots) else roots) and not _is_open(place, roots):
            closed.append(place)
    if closed and not found:
        raise StoreError(f"store {closed[0]} belongs to another user: run this as that user or as root")
    return found


def _is_open(place: str, roots: str) -> bool:
    return os.access(roots if os.path.isdir(roots) else place, os.R_OK | os.X_OK)


def shelf_at(place: str) -> Shelf:
    inventory = Inventory(os.fsencode(place))
    drafts = inventory.drafts()
    arriving = [each for each in drafts if is_in_use(each.place)]
    return Shelf(place, [*(each for each in drafts if each not in arriving), *inventory.roots()], arriving)


def rows_of(shelf: Shelf) -> Iterator[StoredBundle]:
    for kept in (*shelf.arriving, *shelf.kept):
        try:
            with open(kept.place + b"/manifest", "rb") as file:
                manifest = manifests.decode(file.read())
            bundle, uid, _ = kept.name.split(b"-")
            in_use = is_in_use(kept.place)
            draft = os.path.basename(os.path.dirname(kept.place)) == b"drafts"
            yield StoredBundle(
                place=shelf.place,
                bundle=bundle.decode("ascii"),
                program=program_of(manifest),
                owner=int(uid),
                files=sum(1 for _ in manifest.files()),
                size_bytes=manifest.size_bytes(),
                used_s=kept.used_ns / 1e9,
                in_use=in_use,
                state=("arriving" if in_use else "interrupted") if draft else "in use" if in_use else "",
            )
        except (OSError, ValueError, BundleError):
            continue  # a slave removed it just now, or it is none


def program_of(manifest: Manifest) -> str:
    return os.fsdecode(manifest.program) or "(files)"


def _program(kept: Kept) -> str:
    with contextlib.suppress(OSError, BundleError), open(kept.place + b"/manifest", "rb") as file:
        return program_of(manifests.decode(file.read()))
    return "?"


def _prune(shelves: list[Shelf], keep_bytes: int, trace: Trace) -> None:
    """Remove what was least recently used until each store keeps no more than `keep_bytes`; what is in use stays.

    Safe beside running slaves: a bundle is renamed away first, and a slave that misses one fetches it again.
    Raises: StoreError if the store is another user's.
    """
    gone = room.NOTHING
    count = 0

    def remove(kept: Kept) -> bool:
        nonlocal count
        program = _program(kept)
        try:
            removed = throw_away(os.path.dirname(os.path.dirname(kept.place)), kept.place)
        except OSError as error:
            raise StoreError(f"cannot remove {os.fsdecode(kept.place)}: {error.strerror}") from error
        if removed:
            count += 1
            name = kept.name.decode("ascii", "replace")[:12]
            trace.step(f"removed {name}, {program}, from {os.path.dirname(os.path.dirname(os.fsdecode(kept.place)))}")
        return removed

    for shelf in shelves:
        most = Use(keep_bytes, shelf.use.inodes)
        gone = gone.plus(room.remove_until(_within(shelf.use, most), shelf.kept, remove))
        empty_trash(os.fsencode(shelf.place))
    bundles = sum(len(shelf.kept) + len(shelf.arriving) for shelf in shelves)
    print(f"removed {count} of {bundles} bundles, {bytes_text(gone.size_bytes)}")


def _within(use: Use, most: Use) -> Callable[[Use], bool]:
    return lambda gone: use.less(gone).fits(most)


def _subdirectories(place: str) -> list[str]:
    with contextlib.suppress(OSError):
        inside = (os.path.join(place, name) for name in os.listdir(place))
        return sorted(each for each in inside if os.path.isdir(each))
    return []
