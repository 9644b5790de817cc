"""The store on a real disk: what it gives is what was sent, whatever happened to the disk in between."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.content.manifest import (
    CHUNK_BYTES,
    Digest,
    Directory,
    Entry,
    File,
    Manifest,
    Symlink,
    decode,
    digest_of,
    encode,
)
from gproc.errors import BundleError, StoreError
from gproc.store.opening import open_store
from gproc.store.partial import Owner, PartialBundle
from gproc.store.store import Root, Store

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
    return File(path, mode, uid, 0, len(data), MTIME_NS, b"".join(cut(data)))


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
    return store.commit(partial)


def other_bundle(number: int, size_bytes: int = 1000) -> tuple[Manifest, dict[bytes, bytes]]:
    data = bytes([number]) * size_bytes
    return bundle_of(file_of(b"/gproc-test-%d" % number, data))[0], cut(data)


def receive_other(store: Store, number: int, size_bytes: int = 1000) -> Root:
    manifest, chunks = other_bundle(number, size_bytes)
    partial = begin(store, manifest, encode(manifest))
    for digest, data in chunks.items():
        partial.admit(Digest(digest), [data])
    return store.commit(partial)


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


def test_an_interrupted_draft_goes_on_where_it_was_even_in_the_next_process(tmp_path: Path) -> None:
    partial = begin(Store(str(tmp_path)))
    first, *rest = partial.missing
    partial.admit(first, [CHUNKS[first]])
    again = begin(Store(str(tmp_path)))
    assert set(again.missing) == set(rest)


def test_the_chunks_of_an_interrupted_draft_are_hashed_again(tmp_path: Path) -> None:
    partial = begin(Store(str(tmp_path)))
    for digest in list(partial.missing):
        partial.admit(digest, [CHUNKS[digest]])
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


def tampered_by_a_flip(path: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(10)
        file.write(b"\xff")


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
    os.rename(place, place.replace(BUNDLE.hex(), "ab" * 32))
    assert Store(str(tmp_path)).roots() == []
    assert os.listdir(tmp_path / "roots") == []


def test_the_least_recently_used_root_is_evicted_first_and_never_one_in_use(tmp_path: Path) -> None:
    store = Store(str(tmp_path), cap_bytes=3500)
    first, second, third = (receive_other(store, number) for number in range(3))
    second.hold()
    store.find(first.bundle, OWN)
    receive_other(store, 4)
    assert [root.bundle for root in store.roots()][:2] == [second.bundle, first.bundle]
    assert not os.path.exists(third.place)
    receive_other(store, 5, 2000)
    assert second in store.roots()
    assert first not in store.roots()
    with pytest.raises(StoreError, match="running jobs use the store"):
        receive_other(store, 6, 3000)
    second.release()
    receive_other(store, 6, 3000)
    assert second not in store.roots()


def test_a_bundle_larger_than_the_store_is_refused_and_evicts_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path), cap_bytes=3500)
    kept = receive_other(store, 1)
    with pytest.raises(StoreError, match="--store-size"):
        receive_other(store, 2, 4000)
    assert store.roots() == [kept]


def test_a_tampered_root_stays_on_disk_while_a_job_is_shown_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    root = receive_other(store, 1)
    root.hold()
    store.discard(root)
    assert len(os.listdir(tmp_path / "trash")) == 1
    root.release()
    store.discard(receive_other(store, 2))
    assert os.listdir(tmp_path / "trash") == []


def test_an_evicted_roots_chunks_are_forgotten(tmp_path: Path) -> None:
    store = Store(str(tmp_path), cap_bytes=1500)
    receive_other(store, 1)
    receive_other(store, 2)
    (digest,) = other_bundle(1)[1]
    assert store.read(Digest(digest)) is None
    assert os.listdir(tmp_path / "trash") == []


def test_a_full_disk_is_a_clear_error_and_the_store_keeps_its_roots(small_disk: Path) -> None:
    store = Store(str(small_disk), cap_bytes=1 << 30)
    kept = receive_other(store, 1)
    data = os.urandom(4 << 20)
    partial = begin(store, *bundle_of(file_of(b"/gproc-test", data)))
    with pytest.raises(StoreError, match="No space left"):
        for digest, chunk in cut(data).items():
            partial.admit(Digest(digest), [chunk])
    assert store.find(kept.bundle, OWN) is kept


def test_two_processes_on_one_base_have_a_store_each_and_the_same_again_later(tmp_path: Path) -> None:
    first, first_lock = open_store(str(tmp_path))
    second, second_lock = open_store(str(tmp_path))
    assert first.place != second.place
    os.close(first_lock)
    again, again_lock = open_store(str(tmp_path))
    assert again.place == first.place
    with pytest.raises(BlockingIOError):
        fcntl.flock(os.open(os.path.join(again.place, b"lock"), os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again_lock)
    os.close(second_lock)


def test_a_store_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a directory away")
    os.mkdir(tmp_path / "0")
    os.chown(tmp_path / "0", *SOMEBODY)
    with pytest.raises(StoreError, match="belongs to another user"):
        open_store(str(tmp_path))


@pytest.mark.parametrize(
    "entries",
    [
        (file_of(b"/../etc/passwd", HELLO),),
        (file_of(b"/a/../../etc/passwd", HELLO),),
        (file_of(b"etc/passwd", HELLO),),
        (file_of(b"//etc", HELLO),),
        (file_of(b"/", HELLO),),
        (file_of(b"/a\0b", HELLO),),
        (file_of(b"/a", HELLO), file_of(b"/a", HELLO)),
        (Symlink(b"/a", b"/etc"), file_of(b"/a/passwd", HELLO)),
        (Symlink(b"/a", b"/etc"), Directory(b"/a", 0o755, 0, 0), file_of(b"/a/passwd", HELLO)),
        (file_of(b"/a", HELLO), file_of(b"/a/b", HELLO)),
        (Directory(b"/a/b", 0o755, 0, 0), Directory(b"/a", 0o755, 0, 0)),
        (file_of(b"/a", HELLO, 0o4755),),
        (file_of(b"/a", HELLO, 0o2755),),
        (Directory(b"/a", 0o1777, 0, 0),),
        (file_of(b"/a", HELLO, -1),),
        (File(b"/a", 0o644, 0, 0, 5, 0, b""),),
        (File(b"/a", 0o644, 0, 0, 0, 0, digest_of(b"")),),
        (File(b"/a", 0o644, 0, 0, -1, 0, b""),),
        (Symlink(b"/a", b""),),
        (Symlink(b"/a", b"x\0y"),),
    ],
    ids=repr,
)
def test_a_hostile_manifest_is_refused(entries: tuple[Entry, ...]) -> None:
    _, encoded = bundle_of(*entries)
    with pytest.raises(BundleError):
        decode(encoded)


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
        root = store.commit(partial)
        assert stat.S_IMODE(os.stat(root.tree + b"/gproc-test").st_mode) == 0o555
        assert Store(str(place)).find(root.bundle, owner) is not None
        store.discard(root)
        assert os.listdir(place / "trash") == os.listdir(place / "roots") == []

    as_nobody(work, place)
