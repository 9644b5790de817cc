"""The store on a real disk: it gives exactly what was sent, also if the disk's contents changed in between."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES, Digest, Directory, File, Symlink, chunks_of, digest_of
from gproc.errors import StoreError
from gproc.store.partial import Owner
from gproc.store.store import Store
from tests.store.samples import (
    BUNDLE,
    CHUNKS,
    ENCODED,
    HELLO,
    LONG,
    MANIFEST,
    MTIME_NS,
    OWN,
    SOMEBODY,
    begin,
    bundle_of,
    cut,
    file_of,
    nothing,
    receive,
    released,
)  # fmt: skip


def test_a_root_has_the_files_that_were_sent(store: Store) -> None:
    tree = Path(os.fsdecode(receive(store).tree)) / "gproc-test"
    assert (tree / "hello").read_bytes() == HELLO
    assert (tree / "long").read_bytes() == (tree / "again").read_bytes() == LONG
    assert (tree / "empty").read_bytes() == b""
    assert os.readlink(tree / "link") == "../anywhere"
    assert stat.S_IMODE((tree / "hello").stat().st_mode) == 0o755
    assert (tree / "hello").stat().st_mtime_ns == MTIME_NS
    assert not os.listdir(os.path.join(store.place, b"drafts"))


def test_a_chunk_of_several_files_is_asked_for_once(store: Store) -> None:
    assert sorted(begin(store).missing) == sorted(CHUNKS)


def test_a_chunk_that_is_not_missing_is_not_written(store: Store) -> None:
    partial = begin(store)
    assert not partial.admit(digest_of(b"stranger"), [b"stranger"])
    first = next(iter(partial.missing))
    assert partial.admit(first, [CHUNKS[first]])
    assert not partial.admit(first, [CHUNKS[first]])


def test_a_chunk_of_another_length_than_its_manifest_says_is_refused(store: Store) -> None:
    """A hostile manifest: the digest is right, and the file would grow beyond what the store made room for."""
    lying = File(b"/gproc-test", 0o644, 0, 0, 5, 0, digest_of(LONG[:1000]))
    manifest, encoded = bundle_of(lying)
    partial = begin(store, manifest, encoded)
    with pytest.raises(StoreError, match="length"):
        partial.admit(digest_of(LONG[:1000]), [LONG[:1000]])
    assert os.stat(partial.tree + lying.path).st_size == 5


def test_whole_chunks_of_zeros_are_holes_that_nobody_sends(store: Store) -> None:
    content = LONG[:CHUNK_BYTES] + bytes(8 * CHUNK_BYTES) + bytes(1000)
    manifest, encoded = bundle_of(file_of(b"/gproc-test", content))
    assert manifest.stored_bytes() == CHUNK_BYTES + 1000
    partial = begin(store, manifest, encoded)
    assert set(partial.missing) == {digest_of(LONG[:CHUNK_BYTES]), digest_of(bytes(1000))}
    for digest, data in chunks_of(content):
        partial.admit(digest, [data])
    path = released(store.commit(partial)).tree + b"/gproc-test"
    assert Path(os.fsdecode(path)).read_bytes() == content
    assert os.stat(path).st_blocks * 512 <= 2 * CHUNK_BYTES
    assert store.read(digest_of(bytes(CHUNK_BYTES))) == bytes(CHUNK_BYTES), "a user who does not know it may ask"


def test_a_shorter_chunk_with_the_name_of_a_hole_is_none(store: Store) -> None:
    lying = File(b"/gproc-test", 0o644, 0, 0, 5, 0, digest_of(bytes(CHUNK_BYTES)))
    manifest, encoded = bundle_of(lying)
    assert manifest.stored_bytes() == 5
    assert list(begin(store, manifest, encoded).missing) == [digest_of(bytes(CHUNK_BYTES))]


def test_what_an_interrupted_try_wrote_where_a_hole_is_becomes_zeros(store: Store) -> None:
    manifest, encoded = bundle_of(file_of(b"/gproc-test", bytes(2 * CHUNK_BYTES)))
    partial = begin(store, manifest, encoded)
    with open(partial.tree + b"/gproc-test", "r+b") as file:
        file.write(b"junk")
    store.abandon(partial)
    again = begin(store, manifest, encoded)
    for digest in list(again.missing):
        again.admit(digest, [bytes(CHUNK_BYTES)])
    path = released(store.commit(again)).tree + b"/gproc-test"
    assert Path(os.fsdecode(path)).read_bytes() == bytes(2 * CHUNK_BYTES)


def test_an_interrupted_draft_goes_on_where_it_was_even_in_the_next_process(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    partial = begin(store)
    first, *rest = partial.missing
    partial.admit(first, [CHUNKS[first]])
    store.abandon(partial)
    again = begin(Store(str(tmp_path)))
    assert set(again.missing) == set(rest)


def test_the_chunks_of_an_interrupted_draft_are_hashed_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    partial = begin(store)
    for digest in list(partial.missing):
        partial.admit(digest, [CHUNKS[digest]])
    store.abandon(partial)
    with open(partial.tree + b"/gproc-test/hello", "r+b") as file:
        file.write(b"?")
    assert set(begin(Store(str(tmp_path))).missing) == set(cut(HELLO))


def test_a_chunk_that_another_root_holds_is_not_missing(store: Store) -> None:
    receive(store)
    assert begin(store, owner=SOMEBODY).missing == {}


def test_a_file_that_the_node_has_identically_at_the_same_path_is_copied(
    store: Store, public_place: Path, tmp_path: Path
) -> None:
    own, other = public_place / "own", public_place / "other"
    own.write_bytes(LONG)
    other.write_bytes(LONG[:-1] + b"?")
    places = [*reversed(public_place.parents[:-1]), public_place]
    parents = [Directory(os.fsencode(place), 0o755, 0, 0) for place in places]
    identical = bundle_of(*parents, file_of(os.fsencode(own), LONG))
    assert begin(store, *identical).missing == {}
    not_quite = bundle_of(*parents, file_of(os.fsencode(other), LONG))
    last = digest_of(LONG[CHUNK_BYTES:])
    assert list(begin(Store(str(tmp_path / "fresh")), *not_quite).missing) == [last]


def test_a_restart_finds_complete_roots(tmp_path: Path) -> None:
    receive(Store(str(tmp_path)))
    store = Store(str(tmp_path))
    root = store.find(BUNDLE, OWN)
    assert root is not None
    assert root.manifest == MANIFEST
    assert store.manifest(BUNDLE) == ENCODED
    assert all(store.read(Digest(digest)) == data for digest, data in CHUNKS.items())


@pytest.mark.parametrize("victim", ["manifest", "tree"])
def test_half_a_root_is_thrown_away_at_a_restart(tmp_path: Path, victim: str) -> None:
    root = receive(Store(str(tmp_path)))
    os.rename(root.place + b"/" + victim.encode(), tmp_path / "elsewhere")
    store = Store(str(tmp_path))
    assert store.find(BUNDLE, OWN) is None
    assert receive(store).bundle == BUNDLE


def test_other_files_than_roots_are_thrown_away_at_a_restart(tmp_path: Path) -> None:
    place = os.fsdecode(receive(Store(str(tmp_path))).place)
    os.mkdir(tmp_path / "roots" / "nonsense")
    moved = place.replace(BUNDLE.hex(), "ab" * 32)
    os.rename(place, moved)
    store = Store(str(tmp_path))
    assert os.listdir(tmp_path / "roots") == [os.path.basename(moved)]
    assert store.find(Digest(bytes.fromhex("ab" * 32)), OWN) is None
    assert os.listdir(tmp_path / "roots") == []


@pytest.mark.parametrize("mtime_ns", [2**64 - 1, -(2**63)])
def test_a_time_that_no_clock_shows_is_a_clear_error_or_none(store: Store, mtime_ns: int) -> None:
    file = File(b"/gproc-test", 0o644, 0, 0, 0, mtime_ns, b"")
    partial = begin(store, *bundle_of(file))
    try:
        store.commit(partial)
    except StoreError as error:
        assert "cannot finish a bundle" in str(error)


def test_a_draft_does_not_follow_a_link_that_was_put_in_its_way(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    partial = store.partial(MANIFEST, ENCODED, OWN)
    os.mkdir(partial.tree + b"/gproc-test")
    os.symlink(victim, partial.tree + b"/gproc-test/hello")
    with pytest.raises(StoreError):
        partial.lay_out(nothing)
    assert victim.read_bytes() == b"precious"


def test_files_of_another_users_job_belong_to_that_user(store: Store) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files away")
    entries = (
        Directory(b"/gproc-test", 0o755, 0, 0),
        file_of(b"/gproc-test/of-root", HELLO, uid=0),
        file_of(b"/gproc-test/of-the-caller", HELLO, uid=1000),
        Symlink(b"/gproc-test/link", b"x"),
    )
    manifest, encoded = bundle_of(*entries)
    partial = begin(store, manifest, encoded, SOMEBODY)
    for digest in list(partial.missing):
        partial.admit(digest, [CHUNKS[digest]])
    tree = store.commit(partial).tree + b"/gproc-test/"
    assert os.stat(tree + b"of-root").st_uid == 0
    assert tuple(os.stat(tree + b"of-the-caller"))[4:6] == SOMEBODY
    assert tuple(os.lstat(tree + b"link"))[4:6] == SOMEBODY


def as_nobody(work: Callable[[], None], place: Path) -> None:
    """Do it as an unprivileged user, in a child process that has `place` for its own."""
    if os.geteuid() != 0:
        work()
        return
    os.chown(place, 65534, 65534)
    for parent in place.parents:
        if not parent.stat().st_mode & 0o001:
            os.chmod(parent, stat.S_IMODE(parent.stat().st_mode) | 0o011)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            work()
        except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_unprivileged_store_receives_and_removes_read_only_directories(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    manifest, encoded = bundle_of(
        Directory(b"/gproc-test", 0o555, 0, 0),
        Directory(b"/gproc-test/in", 0o500, 0, 0),
        file_of(b"/gproc-test/in/hello", HELLO, 0o444),
    )

    def work() -> None:
        owner = Owner(os.geteuid(), os.getegid())
        store = Store(str(place))
        partial = begin(store, manifest, encoded, owner)
        for digest in list(partial.missing):
            partial.admit(digest, [CHUNKS[digest]])
        root = released(store.commit(partial))
        assert stat.S_IMODE(os.stat(root.tree + b"/gproc-test").st_mode) == 0o555
        assert Store(str(place)).find(root.bundle, owner) is not None
        store.discard(root)
        assert os.listdir(place / "trash") == os.listdir(place / "roots") == []

    as_nobody(work, place)
