"""Which chunks a bundle has."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from gproc.content import manifest as manifests
from gproc.content.manifest import Manifest
from gproc.spread.scheduling import STRIPES

INLINE_MANIFEST_BYTES: Final = 64 << 10
"""A manifest up to this size is decoded in the event loop, in some 5 ms; a larger one in a thread."""

REMEMBERED_CHUNKS: Final = 100_000
"""The limit for all remembered bundles, but for the last one: some 10 MB.  A Python program has 3,000."""


class Contents:
    """The chunks of the bundles that were asked about last."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[bytes, frozenset[bytes]] = OrderedDict()
        self._count = 0

    def knows(self, bundle: bytes) -> bool:
        return bundle in self._chunks

    def has(self, bundle: bytes, digest: bytes) -> bool:
        return digest in self._chunks.get(bundle, ())

    def learn(self, bundle: bytes, manifest: Manifest) -> None:
        chunks = self._chunks[bundle] = frozenset(stripes_of(manifest))
        self._count += len(chunks)
        while self._count > REMEMBERED_CHUNKS and len(self._chunks) > 1:
            _, forgotten = self._chunks.popitem(last=False)
            self._count -= len(forgotten)


async def decoded(encoded: bytes) -> Manifest:
    """A manifest from its text.  Raises: BundleError."""
    if len(encoded) <= INLINE_MANIFEST_BYTES:
        return manifests.decode(encoded)
    return await asyncio.get_running_loop().run_in_executor(None, manifests.decode, encoded)


def stripes_of(manifest: Manifest) -> dict[bytes, int]:
    """The stripe of each chunk.  It is the same on every node, no matter which chunks the node has already."""
    chunks: dict[bytes, None] = {}
    for file in manifest.files():
        chunks |= dict.fromkeys(digest for digest, _, _ in file.chunks())
    return {digest: number % STRIPES for number, digest in enumerate(chunks)}
