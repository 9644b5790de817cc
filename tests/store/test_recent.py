"""Manifests that are not used just now are not kept in memory, but read from the store again."""

from __future__ import annotations

import os

import pytest

from gproc.content.manifest import digest_of, encode
from gproc.store import recent
from gproc.store.recent import ReadManifest, RecentManifests
from gproc.store.store import Store
from tests.store.samples import BUNDLE, ENCODED, MANIFEST, OWN, other_bundle, receive, receive_other


def test_a_slave_that_had_run_many_scripts_kept_little_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 runs of a Python script that was edited between them left 226 MB in the slave and 245 MB in the master."""
    monkeypatch.setattr(recent, "ENTRIES_MAX", 8)
    roots = [receive(store), *(receive_other(store, number) for number in range(20))]
    kept = 0
    for root in roots:
        os.rename(root.place + b"/manifest", root.place + b"/away")
        kept += len(content.entries) if (content := store.content(root.bundle)) is not None else 0
        os.rename(root.place + b"/away", root.place + b"/manifest")
    assert kept <= 8
    assert [root.bundle for root in store.roots()] == [root.bundle for root in roots]
    assert (store.content(BUNDLE), store.manifest(BUNDLE)) == (MANIFEST, ENCODED)
    assert store.find(BUNDLE, OWN) is roots[0]
    assert roots[0].hash()


def test_a_large_manifest_is_kept_as_long_as_it_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "ENTRIES_MAX", 1)
    manifests = RecentManifests()
    manifests.keep(BUNDLE, ReadManifest(MANIFEST, ENCODED))
    assert manifests.of(BUNDLE, b"/nowhere").manifest is MANIFEST
    other, _ = other_bundle(1)
    manifests.keep(digest_of(encode(other)), ReadManifest(other, encode(other)))
    with pytest.raises(FileNotFoundError):
        manifests.of(BUNDLE, b"/nowhere")


def test_a_manifest_that_was_removed_or_exchanged_is_not_believed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that shares the store may have removed the bundle, or its disk may be broken."""
    monkeypatch.setattr(recent, "ENTRIES_MAX", 1)
    first, other = receive(store), receive_other(store, 1)
    with open(first.place + b"/manifest", "wb") as file:
        file.write(encode(other.manifest))
    assert store.content(BUNDLE) is None
    os.unlink(first.place + b"/manifest")
    assert store.manifest(BUNDLE) is None
    assert store.find(BUNDLE, OWN) is None
