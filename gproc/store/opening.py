"""Chooses the store of a process, and locks it against other processes."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from gproc.errors import StoreError
from gproc.store.store import Store

MAX_STORES_PER_HOST: Final = 10_000


def open_store(base: str, cap_bytes: int | None = None) -> tuple[Store, int]:
    """The first store below `base` that no other process has, and the locked handle that keeps others out.

    Several slaves of one host get one each, and the same ones again after a restart.  Raises: StoreError.
    """
    for number in range(MAX_STORES_PER_HOST):
        place = os.path.join(base, str(number))
        try:
            os.makedirs(place, 0o700, exist_ok=True)
            if os.stat(place).st_uid != os.geteuid():
                raise StoreError(f"store {place} belongs to another user; name another place with --store")
            handle = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
        except OSError as error:
            raise StoreError(f"store {place}: {error.strerror}; name another place with --store") from error
        return Store(place, cap_bytes), handle
    raise StoreError(f"store {base}: {MAX_STORES_PER_HOST} are in use already")


def default_base(environ: dict[str, str] | os._Environ[str]) -> str:
    """/var/cache/gproc for root, file-hierarchy(7); the user's own cache directory else."""
    if os.geteuid() == 0:
        return "/var/cache/gproc"
    cache = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "gproc", "store")
