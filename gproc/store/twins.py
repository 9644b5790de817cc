"""Installed files of other bundles that are just as those of a new one are to be: they get another name there.

A script that was edited makes a new bundle.  All but one of its files, with an interpreter's library 1,400 to 3,000,
lie in the bundle before it: to read, check and write these took a node a second, and 50 MB of its disk or memory, each
time.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import ExitStack
from typing import Final, Protocol, Self

from gproc.content.manifest import Digest, File
from gproc.store.partial import Owner, PartialBundle
from gproc.store.root import Root

INSTALLED: Final = re.compile(
    rb"/(usr|opt|lib\w*|bin|sbin)/.*|.*/(lib|lib64|libexec)/[^/]+/.*|.*/(site-packages|node_modules)/.*", re.DOTALL
)
"""What programs install, wherever their prefix is.  Files of a project are not shared: `ls -l` shows a file's names."""


class Indexed(Protocol):
    """A store, as far as it is asked for twins."""

    def read(self, digest: Digest) -> bytes | None: ...

    def location(self, digest: Digest) -> tuple[bytes, int, int] | None: ...

    def root_around(self, path: bytes, owner: Owner) -> Root | None: ...


class Twins:
    """Those of one owner, as long as this context lasts.

    Only of roots that are what was received, by a comparison with their stamps: nothing is hashed again, neither now
    nor when the root is used next.  Bundles that share these files already are hashed then: the ctime has changed.
    """

    def __init__(self, store: Indexed, owner: Owner) -> None:
        self._store = store
        self._owner = owner
        self._roots: dict[Root, bool] = {}
        self._lent = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lent.close()

    def named(self, file: File, place: bytes) -> bool:
        """Make `place` a name of a file that is just so.  Returns False, and makes nothing, if there is none."""
        twin = self._of(file)
        if twin is None:
            return False
        try:
            os.link(twin, place, follow_symlinks=False)
        except OSError:  # it has as many names as it may have, or is gone
            return False
        if self._is_so(place, file):
            return True
        os.unlink(place)
        return False

    def _of(self, file: File) -> bytes | None:
        chunks = list(file.chunks()) if INSTALLED.fullmatch(file.path) else []
        first = self._store.location(chunks[0][0]) if chunks else None
        if first is None:
            return None
        path = first[0]
        if any(self._store.location(digest) != (path, offset, length) for digest, offset, length in chunks):
            return None
        root = self._store.root_around(path, self._owner)
        return path if root is not None and self._is_intact(root) else None

    def _is_intact(self, root: Root) -> bool:
        if root not in self._roots:
            try:
                self._roots[root] = self._lent.enter_context(root.linked())
            except OSError:
                self._roots[root] = False
        return self._roots[root]

    def _is_so(self, place: bytes, file: File) -> bool:
        """Whether it has the mode, owner and time that a bundle of this owner gives to the file."""
        found = os.lstat(place)
        wanted = (file.size_bytes, file.mode, file.mtime_ns)
        if not stat.S_ISREG(found.st_mode) or (found.st_size, stat.S_IMODE(found.st_mode), found.st_mtime_ns) != wanted:
            return False
        return os.geteuid() != 0 or (found.st_uid, found.st_gid) == self._owner.of(file)


def lay_out(store: Indexed, partial: PartialBundle) -> None:
    """Lay a large bundle out, with what the store has; for a thread."""
    with Twins(store, partial.owner) as twins:
        partial.lay_out(store.read, twins.named)
