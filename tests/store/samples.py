"""Bundles for the tests of the store, and what receives them."""

from __future__ import annotations

import os
import random

from gproc.content.manifest import (
    CHUNK_BYTES,
    Digest,
    Directory,
    Entry,
    File,
    Manifest,
    Symlink,
    chunks_of,
    digest_of,
    encode,
)
from gproc.store.partial import Owner, PartialBundle
from gproc.store.root import Root
from gproc.store.store import Store

OWN = Owner(os.geteuid(), os.getegid())
SOMEBODY = Owner(4711, 4712)
HELLO = b"#!/bin/sh\necho hello\n"
LONG = os.urandom(CHUNK_BYTES) + os.urandom(1000)
MTIME_NS = 1_600_000_000_123_456_789


def nothing(_digest: Digest) -> bytes | None:
    return None


def cut(data: bytes) -> dict[bytes, bytes]:
    pieces = [data[begin : begin + CHUNK_BYTES] for begin in range(0, len(data), CHUNK_BYTES)]
    return {digest_of(piece): piece for piece in pieces}


def file_of(path: bytes, data: bytes, mode: int = 0o644, uid: int = 0) -> File:
    return File(path, mode, uid, 0, len(data), MTIME_NS, b"".join(digest for digest, _ in chunks_of(data)))


def bundle_of(*entries: Entry) -> tuple[Manifest, bytes]:
    manifest = Manifest(b"", b"", (), (), (), (0, 0), entries)
    return manifest, encode(manifest)


ENTRIES: tuple[Entry, ...] = (
    Directory(b"/gproc-test", 0o755, 0, 0),
    file_of(b"/gproc-test/hello", HELLO, 0o755),
    file_of(b"/gproc-test/long", LONG),
    file_of(b"/gproc-test/again", LONG),
    file_of(b"/gproc-test/empty", b""),
    Symlink(b"/gproc-test/link", b"../anywhere"),
)
MANIFEST, ENCODED = bundle_of(*ENTRIES)
BUNDLE = digest_of(ENCODED)
CHUNKS = cut(HELLO) | cut(LONG)


def begin(store: Store, manifest: Manifest = MANIFEST, encoded: bytes = ENCODED, owner: Owner = OWN) -> PartialBundle:
    partial = store.partial(manifest, encoded, owner)
    partial.lay_out(store.read)
    return partial


def receive(store: Store, owner: Owner = OWN) -> Root:
    partial = begin(store, owner=owner)
    for digest in list(partial.missing):
        partial.admit(digest, [CHUNKS[digest]])
    return released(store.commit(partial))


def other_bundle(number: int, size_bytes: int = 1000) -> tuple[Manifest, dict[bytes, bytes]]:
    data = random.Random(number).randbytes(size_bytes)
    return bundle_of(file_of(b"/gproc-test-%d" % number, data))[0], cut(data)


def receive_other(store: Store, number: int, size_bytes: int = 1000) -> Root:
    manifest, chunks = other_bundle(number, size_bytes)
    partial = begin(store, manifest, encode(manifest))
    for digest, data in chunks.items():
        if Digest(digest) in partial.missing:
            partial.admit(Digest(digest), [data])
    return released(store.commit(partial))


def released(root: Root) -> Root:
    """No job uses it."""
    root.release()
    return root


