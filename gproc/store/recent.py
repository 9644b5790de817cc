"""The manifests of the bundles that were used last.

A decoded manifest takes 370 bytes for each file, and its text 120: that of a Python program, with its library, 1.5 MB.
A slave that had run 60 scripts kept 180 MB of them.  Those of other bundles are read from the store again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, NamedTuple

from gproc.content.manifest import Manifest, digest_of, trusted

ENTRIES_MAX: Final = 10_000
"""Of all manifests together, but for the one that was used last."""


class ReadManifest(NamedTuple):
    """A manifest, and the form of it that names the bundle."""

    manifest: Manifest
    encoded: bytes


class RecentManifests:
    """Any thread may ask."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._read: OrderedDict[bytes, ReadManifest] = OrderedDict()
        self._entries = 0

    def keep(self, bundle: bytes, read: ReadManifest) -> None:
        with self._turn:
            self._drop(bundle)
            self._read[bundle] = read
            self._entries += len(read.manifest.entries)
            while self._entries > ENTRIES_MAX and len(self._read) > 1:
                self._drop(next(iter(self._read)))

    def of(self, bundle: bytes, path: bytes) -> ReadManifest:
        """The manifest of a bundle, whose file is at `path`.  Raises: OSError if it is gone, or another one."""
        with self._turn:
            if (known := self._read.get(bundle)) is not None:
                self._read.move_to_end(bundle)
                return known
        with open(path, "rb", buffering=0) as file:
            encoded = file.read()
        if digest_of(encoded) != bundle:
            raise FileNotFoundError(path)
        read = ReadManifest(trusted(encoded), encoded)
        self.keep(bundle, read)
        return read

    def _drop(self, bundle: bytes) -> None:
        if (dropped := self._read.pop(bundle, None)) is not None:
            self._entries -= len(dropped.manifest.entries)
