"""Chooses the store of a process: one for each user of a machine, shared by all that the user runs there."""

from __future__ import annotations

import contextlib
import fcntl
import os

from gproc.bundle.surroundings import working_directory
from gproc.environment import base_directory, session_directory
from gproc.store import inventory
from gproc.store.room import Use
from gproc.store.store import Store


def open_store(base: str, cap_bytes: int | None = None, quota: Use | None = None) -> Store:
    """The store at `base`, with what earlier versions kept below it.  Raises: StoreError, GprocError.

    A relative base is below the working directory: what mounts a job's files has another one.
    """
    if not os.path.isabs(base):
        base = os.path.join(working_directory(), base)
    with contextlib.suppress(OSError):  # `Store` complains of it
        inventory.make_folders(os.fsencode(base))
        for place in former_stores(base):
            adopt(os.fsencode(place), os.fsencode(base))
    return Store(base, cap_bytes, quota=quota)


def default_base(environ: dict[str, str] | os._Environ[str]) -> str:
    """/var/cache/gproc for root, file-hierarchy(7); the user's own cache directory else."""
    if os.geteuid() == 0:
        return "/var/cache/gproc"
    return os.path.join(base_directory(environ, "XDG_CACHE_HOME", ".cache", session_directory()), "gproc", "store")


def usable_base(environ: dict[str, str] | os._Environ[str], other: str) -> str:
    """The default one; `other` if nothing can be written there, as in a home that is read-only or not there."""
    base = default_base(environ)
    with contextlib.suppress(OSError):
        inventory.make_folders(os.fsencode(base))
        if os.access(base, os.W_OK | os.X_OK):
            return base
    return other


def former_stores(base: str) -> list[str]:
    """Stores of versions that gave each process one of its own: 0, 1, ... and master/0, master/1, ..."""
    found = []
    for folder in (base, os.path.join(base, "master")):
        with contextlib.suppress(OSError):
            found += [
                os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.isascii() and name.isdigit()
            ]
    return [place for place in found if os.path.isdir(os.path.join(place, "roots"))]


def adopt(former: bytes, base: bytes) -> None:
    """Take over the bundles of a store that no process of an earlier version has, and remove the rest of it.

    What is more than the cap is removed when the store is opened.
    """
    with contextlib.suppress(OSError):
        lock = os.open(former + b"/lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.lstat(former).st_uid != os.geteuid():
                return
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in os.listdir(former + b"/roots"):
                with contextlib.suppress(OSError):  # the same bundle is there already
                    os.rename(former + b"/roots/" + name, base + b"/roots/" + name)
            inventory.bury(base, former)
        finally:
            os.close(lock)
        os.rmdir(os.path.dirname(former))  # `master`, if that was the last one in it
