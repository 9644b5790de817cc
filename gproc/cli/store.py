"""`gproc store`: shows what this machine's stores keep, and makes room in them.  No cluster is needed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time

import msgspec

from gproc.cli.options import StoreOptions
from gproc.cli.table import bytes_text, table
from gproc.cli.trace import Trace
from gproc.content import manifest as manifests
from gproc.disk.trees import remove_tree
from gproc.errors import BundleError, StoreError
from gproc.shown import shown_text
from gproc.store.opening import default_base


class Kept(msgspec.Struct, frozen=True):
    """A bundle in a store.  used_s: when a job last had it, Unix time."""

    place: str
    bundle: str
    program: str
    owner: int
    files: int
    size_bytes: int
    used_s: float
    in_use: bool


def run(options: StoreOptions) -> int:
    trace = Trace(options.debug)
    base = options.store or default_base(os.environ)
    places = stores_below(base)
    trace.step(f"found {len(places)} stores below {base}")
    kept = []
    for place in places:
        here = bundles_in(place)
        trace.step(f"{place} has {len(here)} bundles")
        kept += here
    if options.prune_bytes is not None:
        gone = prune(kept, options.prune_bytes)
        for each in gone:
            trace.step(f"removed {each.bundle[:12]}, {each.program}, from {each.place}")
        freed = sum(each.size_bytes for each in gone)
        print(f"removed {len(gone)} of {len(kept)} bundles, {bytes_text(freed)}")
        return 0
    if options.json:
        rows = [msgspec.structs.replace(each, place=_text(each.place), program=_text(each.program)) for each in kept]
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
            "in use" if each.in_use else "",
        )
        for each in sorted(kept, key=lambda each: (each.place, -each.used_s))
    ]
    head = ("STORE", "BUNDLE", "PROGRAM", "UID", "FILES", "SIZE", "LAST USED", "NOW")
    total = sum(each.size_bytes for each in kept)
    sys.stdout.write(table(head, cells, right=("UID", "FILES", "SIZE")))
    print(f"\n{len(kept)} bundles, {bytes_text(total)}, below {shown_text(base)}")
    return 0


def _text(path: str) -> str:
    """A path for JSON, which has only text: other bytes are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def stores_below(base: str) -> list[str]:
    """Every directory at or below `base`, two levels deep, that is a store: a slave's (0, 1, ...) or the master's.

    Raises: StoreError if there are only stores that we may not look into.
    """
    found = []
    closed = []
    for place in (base, *_subdirectories(base), *(d for s in _subdirectories(base) for d in _subdirectories(s))):
        if os.path.isdir(os.path.join(place, "roots")) and os.path.exists(os.path.join(place, "lock")):
            found.append(place)
        elif os.path.isdir(place) and not os.access(place, os.R_OK | os.X_OK):
            closed.append(place)
    if closed and not found:
        raise StoreError(f"store {closed[0]} belongs to another user: run this as that user or as root")
    return found


def bundles_in(place: str) -> list[Kept]:
    kept = []
    for root in _subdirectories(os.path.join(place, "roots")):
        name = os.path.basename(root)
        try:
            with open(os.path.join(root, "manifest"), "rb") as file:
                manifest = manifests.decode(file.read())
            bundle, uid, _ = name.split("-")
            kept.append(
                Kept(
                    place=place,
                    bundle=bundle,
                    program=os.fsdecode(manifest.program) or "(files)",
                    owner=int(uid),
                    files=sum(1 for _ in manifest.files()),
                    size_bytes=manifest.size_bytes(),
                    used_s=os.stat(root).st_mtime,
                    in_use=_is_in_use(root),
                )
            )
        except (OSError, ValueError, BundleError):
            continue  # a slave removed it just now, or it is none
    return kept


def prune(kept: list[Kept], keep_bytes: int) -> list[Kept]:
    """Remove what was least recently used until each store keeps no more than `keep_bytes`; what jobs use stays.

    Safe beside running slaves: a root is renamed away first, and a slave that misses one fetches it again.
    Raises: StoreError if the store is another user's.
    """
    gone = []
    for place in {each.place for each in kept}:
        here = sorted((each for each in kept if each.place == place), key=lambda each: each.used_s)
        total = sum(each.size_bytes for each in here)
        for each in here:
            if total <= keep_bytes:
                break
            if _remove(each):
                gone.append(each)
                total -= each.size_bytes
    return gone


def _remove(kept: Kept) -> bool:
    roots = os.path.join(kept.place, "roots")
    name = next((name for name in os.listdir(roots) if name.startswith(f"{kept.bundle}-{kept.owner}-")), None)
    if name is None:
        return True
    root = os.path.join(roots, name)
    try:
        with open(os.path.join(root, "manifest"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            grave = os.path.join(kept.place, "trash", f"{name}.{os.getpid()}")
            os.rename(root, grave)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(f"cannot remove {root}: {error.strerror}") from error
    remove_tree(os.fsencode(grave))
    return True


def _is_in_use(root: str) -> bool:
    with open(os.path.join(root, "manifest"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _subdirectories(place: str) -> list[str]:
    with contextlib.suppress(OSError):
        inside = (os.path.join(place, name) for name in os.listdir(place))
        return sorted(each for each in inside if os.path.isdir(each))
    return []
