"""A new bundle shares the files that an earlier one of its owner has just so: they are not copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from gproc.content.manifest import Digest, Directory, File
from gproc.store.partial import Owner, PartialBundle
from gproc.store.root import Root
from gproc.store.store import Store
from gproc.store.twins import INSTALLED, lay_out
from tests.store.samples import CHUNKS, HELLO, LONG, MTIME_NS, OWN, SOMEBODY, bundle_of, cut, file_of, released
from tests.store.test_tampering import tampered_by_a_flip

TOP = (Directory(b"/usr", 0o755, 0, 0), Directory(b"/usr/t", 0o755, 0, 0))
OLD = (*TOP, file_of(b"/usr/t/hello", HELLO, 0o755), file_of(b"/usr/t/long", LONG), file_of(b"/usr/t/script", b"one"))
NEW = (*TOP, file_of(b"/usr/t/hello", HELLO, 0o755), file_of(b"/usr/t/long", LONG), file_of(b"/usr/t/script", b"other"))
KNOWN = CHUNKS | cut(b"one") | cut(b"other")


def laid_out(store: Store, entries: tuple[Directory | File, ...], owner: Owner = OWN) -> PartialBundle:
    manifest, encoded = bundle_of(*entries)
    partial = store.partial(manifest, encoded, owner)
    lay_out(store, partial)
    return partial


def received(store: Store, entries: tuple[Directory | File, ...], owner: Owner = OWN) -> Root:
    partial = laid_out(store, entries, owner)
    for digest in list(partial.missing):
        partial.admit(Digest(digest), [KNOWN[digest]])
    return released(store.commit(partial))


def shared(old: Root, new: Root) -> set[str]:
    names = ("hello", "long", "script")
    paths = {name: [os.fsdecode(root.tree) + f"/usr/t/{name}" for root in (old, new)] for name in names}
    return {name for name, (here, there) in paths.items() if os.path.samefile(here, there)}


def test_an_edited_script_cost_each_node_a_copy_of_its_interpreter(store: Store) -> None:
    old = received(store, OLD)
    new = received(store, NEW)
    assert shared(old, new) == {"hello", "long"}
    assert Path(os.fsdecode(new.tree), "usr/t/script").read_text() == "other"
    assert os.stat(new.tree + b"/usr/t/hello").st_mtime_ns == MTIME_NS
    assert old.compare() is new.compare() is True, "neither is hashed again"
    assert new.hash()


@pytest.mark.parametrize(("mode", "later_ns"), [(0o700, 0), (0o755, 1)])
def test_a_file_of_another_mode_or_time_is_a_copy(store: Store, mode: int, later_ns: int) -> None:
    old = received(store, OLD)
    hello = file_of(b"/usr/t/hello", HELLO, mode)
    other = replace(hello, mtime_ns=hello.mtime_ns + later_ns)
    new = received(store, (*TOP, other, *NEW[2:]))
    assert shared(old, new) == {"long"}
    assert new.hash()


def test_a_file_of_a_project_has_one_name(store: Store) -> None:
    """`ls -l` in a script showed one link more after each edit."""
    top = (Directory(b"/home", 0o755, 0, 0), Directory(b"/home/u", 0o755, 0, 0))
    old = received(store, (*top, file_of(b"/home/u/data", HELLO), file_of(b"/home/u/script", b"one")))
    new = received(store, (*top, file_of(b"/home/u/data", HELLO), file_of(b"/home/u/script", b"other")))
    assert [os.stat(root.tree + b"/home/u/data").st_nlink for root in (old, new)] == [1, 1]
    assert new.hash()


@pytest.mark.parametrize(("path", "is_shared"), [
    (b"/home/u/.pyenv/versions/3.11.7/lib/python3.11/re.py", True), (b"/home/u/venv/lib64/python3/x.so", True),
    (b"/home/u/app/node_modules/a/index.js", True), (b"/lib/x86_64-linux-gnu/libc.so.6", True), (b"/opt/x/y", True),
    (b"/home/u/project/lib/a.py", False), (b"/home/u/project/src/a/b.py", False), (b"/tmp/x", False),
])  # fmt: skip
def test_what_is_installed_is_known_by_its_place(path: bytes, is_shared: bool) -> None:
    assert (INSTALLED.fullmatch(path) is not None) == is_shared


def test_nobody_shares_files_with_another_user(store: Store) -> None:
    """Whoever owns a file may find a way to write to it."""
    if os.geteuid() != 0:
        pytest.skip("only root keeps bundles for several users")
    assert shared(received(store, OLD), received(store, NEW, SOMEBODY)) == set()


def test_a_bundle_that_was_tampered_with_shares_nothing(store: Store) -> None:
    old = received(store, OLD)
    tampered_by_a_flip(old.tree + b"/usr/t/long")
    new = received(store, NEW)
    assert shared(old, new) == set()
    assert new.hash()


def test_what_a_try_that_was_interrupted_has_shared_is_never_written_to(store: Store) -> None:
    """The next try hashes what is there, and fills in what does not fit: in another bundle's file."""
    old = received(store, OLD)
    partial = laid_out(store, NEW)
    store.abandon(partial)
    with open(old.tree + b"/usr/t/long", "r+b") as file:  # the disk has lost a byte
        file.write(bytes([LONG[0] ^ 1]))
    broken = Path(os.fsdecode(old.tree), "usr/t/long").read_bytes()
    new = received(store, NEW)
    assert new.hash()
    assert Path(os.fsdecode(old.tree), "usr/t/long").read_bytes() == broken


def test_files_may_have_no_more_names(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(31, "Too many links")

    old = received(store, OLD)
    monkeypatch.setattr("gproc.store.twins.os.link", full)
    new = received(store, NEW)
    assert shared(old, new) == set()
    assert new.hash()


def test_the_bundles_stay_whole_when_one_of_them_goes(store: Store) -> None:
    old = received(store, OLD)
    new = received(store, NEW)
    store.discard(old)
    assert not os.path.exists(old.place)
    assert new.hash()
