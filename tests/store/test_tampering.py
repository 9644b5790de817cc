"""What is changed in a store behind its back is never used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.content.manifest import Digest
from gproc.store.root import Root
from gproc.store.store import Store
from tests.store.samples import BUNDLE, HELLO, OWN, cut, receive, receive_other


def tampered_by_a_flip(path: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(10)
        was = file.read(1)
        file.seek(10)
        file.write(bytes([was[0] ^ 0xFF]))


def tampered_by_replacement(path: bytes) -> None:
    with open(path + b"~", "wb") as file:
        file.write(HELLO)
    os.chmod(path + b"~", 0o755)
    os.rename(path + b"~", path)


TAMPERINGS: list[Callable[[bytes], None]] = [
    tampered_by_a_flip,
    tampered_by_replacement,
    lambda path: os.truncate(path, 5),
    lambda path: os.chmod(path, 0o4755),
    os.unlink,
]


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_root_that_was_tampered_with_is_thrown_away_at_its_next_use(
    store: Store, tamper: Callable[[bytes], None]
) -> None:
    root = receive(store)
    assert store.find(BUNDLE, OWN) is root
    tamper(root.tree + b"/gproc-test/hello")
    assert store.find(BUNDLE, OWN) is None
    assert not os.path.exists(root.place)
    assert store.find(BUNDLE, OWN) is None
    receive(store)
    assert store.find(BUNDLE, OWN) is not None


@pytest.mark.parametrize("tamper", [tampered_by_a_flip, lambda path: os.truncate(path, 5), os.unlink])
def test_a_root_that_was_tampered_with_while_nobody_looked_is_thrown_away(
    tmp_path: Path, tamper: Callable[[bytes], None]
) -> None:
    root = receive(Store(str(tmp_path)))
    tamper(root.tree + b"/gproc-test/long")
    store = Store(str(tmp_path))
    assert store.find(BUNDLE, OWN) is None
    assert not os.path.exists(root.place)


def give_names(root: Root) -> None:
    for file in root.manifest.files():
        os.link(root.tree + file.path, root.place + b"/" + os.path.basename(file.path))


def test_a_root_whose_files_got_further_names_is_not_hashed_again(store: Store) -> None:
    root = receive(store)
    with root.linked():
        give_names(root)
    assert root.stamps is not None
    assert store.find(BUNDLE, OWN) is root


@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_a_root_that_was_tampered_with_as_its_files_got_further_names_is_thrown_away(store: Store, when: str) -> None:
    root = receive(store)
    if when == "before":
        tampered_by_a_flip(root.tree + b"/gproc-test/hello")
    with root.linked():
        give_names(root)
        if when == "while":
            os.chmod(root.tree + b"/gproc-test/hello", 0o777)
    if when == "after":
        tampered_by_a_flip(root.tree + b"/gproc-test/hello")
    if when == "while":
        assert root.stamps is None
    else:
        assert store.find(BUNDLE, OWN) is None


@pytest.mark.parametrize("tamper", [tampered_by_a_flip, lambda path: os.truncate(path, 5), os.unlink])
def test_a_chunk_that_was_tampered_with_is_never_given(store: Store, tamper: Callable[[bytes], None]) -> None:
    root = receive(store)
    (digest,) = cut(HELLO)
    assert store.read(Digest(digest)) == HELLO
    tamper(root.tree + b"/gproc-test/hello")
    assert store.read(Digest(digest)) is None
    assert store.find(BUNDLE, OWN) is None


def test_a_tampered_root_stays_on_disk_while_a_job_is_shown_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    root = receive_other(store, 1)
    root.hold()
    store.discard(root)
    assert len(os.listdir(tmp_path / "trash")) == 1
    root.release()
    store.discard(receive_other(store, 2))
    assert os.listdir(tmp_path / "trash") == []
