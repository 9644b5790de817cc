"""One request cannot stop a node or the master: the work that it causes has bounds, and other users get their turn.

No time is asserted.  What would take minutes without a bound runs into the patience of the tests.
"""

from __future__ import annotations

import os
import random
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproc.content import manifest as manifests
from gproc.content.manifest import (
    CHUNK_BYTES,
    DIRECTORIES_MAX,
    ENTRIES_MAX,
    Directory,
    Entry,
    File,
    Manifest,
    Symlink,
    digest_of,
    encode,
)
from gproc.errors import BundleError, LaunchError, SpecError, StoreError
from gproc.locales.file import FileLocale
from gproc.nodespec import LEVELS_MAX, TEXT_BYTES_MAX, NodeSpec, fold
from gproc.nodespec import Path as NodePath
from gproc.relay.belonging import Belonging, placed_by
from gproc.request.outcome import Lost
from gproc.request.spec import BundleName
from gproc.root.code_layout import PLACES_MAX, CodeLayout
from gproc.service.absences import Absences
from gproc.service.finding import NodeFinder
from gproc.service.registry import Registry
from gproc.store.inventory import disk_of
from gproc.store.partial import PLACES_AT_ONCE, Owner, PartialBundle
from gproc.store.store import Store
from gproc.wire import frames, messages
from gproc.wire.job_messages import GROUPS_MAX, NAMES_MAX, FindNodes
from tests.attack.peer import dial_unix
from tests.attack.target import submission
from tests.attack.test_public_files import serve
from tests.patience import PATIENCE_S
from tests.pieces import piece_frame
from tests.system.cluster import Cluster

USR: Final = Directory(b"/usr", 0o755, 0, 0)
OWN: Final = Owner(os.geteuid(), os.getegid())
ZEROS: Final = bytes(CHUNK_BYTES)


def manifest_of(*entries: Entry, **changes: object) -> Manifest:
    given: dict[str, object] = {
        "program": b"", "loader": b"", "library_dirs": (), "code_dirs": (b"/usr",), "glibc": (),
        "glibc_version": (0, 0), "entries": entries, **changes,
    }  # fmt: skip
    return Manifest(**given)  # type: ignore[arg-type]


def links(count: int, target: bytes = b"x") -> list[Symlink]:
    return [Symlink(b"/usr/%x" % number, target) for number in range(count)]


def deep(depth: int) -> list[Directory]:
    return [Directory(b"/d" * number, 0o755, 0, 0) for number in range(1, depth + 1)]


TOO_MUCH: Final = {
    "entries": manifest_of(USR, *links(ENTRIES_MAX)),
    "repeated code directories": manifest_of(USR, code_dirs=(b"/usr", b"/usr")),
    "repeated library directories": manifest_of(USR, library_dirs=(b"/usr", b"/usr")),
    "code directories": manifest_of(USR, code_dirs=tuple(b"/%d" % number for number in range(DIRECTORIES_MAX + 1))),
    "depth": manifest_of(*deep(129)),
    "a long path": manifest_of(Directory(b"/" + b"x" * 5000, 0o755, 0, 0)),
    "a long name": manifest_of(Directory(b"/" + b"x" * 256, 0o755, 0, 0)),
    "a long target": manifest_of(USR, Symlink(b"/usr/l", b"x" * 5000)),
    "a code directory elsewhere": manifest_of(USR, code_dirs=(b"/usr/../etc",)),
    "a negative size": manifest_of(File(b"/f", 0o644, 0, 0, -1, 0, b"")),
    "a size beyond its digests": manifest_of(File(b"/f", 0o644, 0, 0, 1 << 62, 0, bytes(32))),
    "a time that no clock shows": manifest_of(File(b"/f", 0o644, 0, 0, 0, 2**64 - 1, b"")),
    "nobody's number": manifest_of(Directory(b"/d", 0o755, 0xFFFF_FFFF, 0)),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_manifest_that_asks_for_too_much_is_refused(what: str) -> None:
    with pytest.raises(BundleError, match=r"manifest"):
        manifests.decode(encode(TOO_MUCH[what]))


GENUINE: Final = encode(manifest_of(USR, File(b"/usr/f", 0o644, 0, 0, 3, 0, digest_of(b"abc")), *links(3)))


@given(st.data())
@settings(max_examples=500)
def test_any_bytes_are_a_manifest_or_a_bundle_error(data: st.DataObject) -> None:
    changed = bytearray(GENUINE)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        manifests.decode(bytes(changed))
    except BundleError as error:
        assert str(error)


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize("sent", [b"\x98" + b"\xa1\xff" * 8, nested(100_000), b"", b"\xc1", b"\x91\x01"])
def test_other_messagepack_than_a_manifest_is_a_bundle_error(sent: bytes) -> None:
    with pytest.raises(BundleError):
        manifests.decode(sent)


def test_a_tag_that_is_not_text_is_a_bundle_error() -> None:
    with pytest.raises(BundleError):
        manifests.decode(GENUINE.replace(b"\xa1f", b"\xa1\xff"))


def test_directories_with_many_names_are_refused() -> None:
    subdirectories = [Directory(b"/usr/%d" % number, 0o755, 0, 0) for number in range(200)]
    names = [Symlink(b"/%x" % number, b"usr") for number in range(PLACES_MAX)]
    manifest = manifest_of(USR, *subdirectories, *names, code_dirs=tuple(each.path for each in subdirectories))
    with pytest.raises(LaunchError, match="directories of code"):
        CodeLayout(manifests.decode(encode(manifest)))


def test_links_that_lead_through_many_others_are_refused() -> None:
    libc = File(b"/libc.so.6", 0o644, 0, 0, 0, 0, b"")
    chain = [Symlink(b"/k%d" % number, b"../" * 1300 + b"k%d" % (number + 1)) for number in range(39)]
    into = [Symlink(b"/usr/%x" % number, b"../k0/x%d/y" % number) for number in range(20_000)]
    manifest = manifest_of(libc, USR, *chain, *into, glibc=(libc.path,), glibc_version=(2, 41))
    with pytest.raises(LaunchError, match="too many others"):
        CodeLayout(manifests.decode(encode(manifest)))


def test_a_store_has_a_bound_on_files_as_well_as_bytes(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), cap_inodes=1000)
    first, second = manifest_of(USR, *links(600)), manifest_of(USR, *links(700))
    for manifest in (first, second):
        partial = store.partial(manifest, encode(manifest), OWN)
        partial.lay_out(lambda _: None)
        store.commit(partial).release()
    assert [len(root.manifest.entries) for root in store.roots()] == [701]
    too_many = manifest_of(USR, *links(1000))
    partial = store.partial(too_many, encode(too_many), OWN)
    partial.lay_out(lambda _: None)
    store.commit(partial).release()
    assert store.roots() == []


def test_drafts_that_nobody_fills_count_as_files_too(tmp_path: Path) -> None:
    """After a restart as well: only a look at the disk knows them."""
    for _ in range(2):
        store = Store(str(tmp_path / "store"), cap_inodes=1000)
        for number in range(3):
            manifest = manifest_of(USR, *links(600, b"%d" % number), File(b"/usr/file", 0o644, 0, 0, 1, 0, bytes(32)))
            partial = store.partial(manifest, encode(manifest), OWN)
            partial.lay_out(lambda _: None)
            store.abandon(partial)
        assert sum(len(files) for _, _, files in os.walk(tmp_path / "store" / "drafts")) < 1000


def test_a_chunk_that_a_manifest_names_very_often_is_written_at_the_end(tmp_path: Path) -> None:
    """1.1 MB of a manifest can write 6 GiB; what comes in writes a few places, the finishing thread the rest."""
    count = 3 * PLACES_AT_ONCE
    file = File(b"/usr/f", 0o644, 0, 0, count * CHUNK_BYTES, 0, digest_of(ZEROS[:-1] + b"1") * count)
    store = Store(str(tmp_path / "store"), cap_bytes=1 << 30)
    manifest = manifest_of(USR, file)
    partial = store.partial(manifest, encode(manifest), OWN)
    partial.lay_out(lambda _: None)
    assert partial.admit(digest_of(ZEROS[:-1] + b"1"), [ZEROS[:-1] + b"1"])
    assert partial.is_large
    place = tmp_path / "store" / "drafts"
    assert sum(each.stat().st_blocks for each in place.rglob("f")) * 512 <= PLACES_AT_ONCE * CHUNK_BYTES + 4096
    root = store.commit(partial)
    assert Store(str(tmp_path / "store")).find(root.bundle, OWN) is not None


def test_a_bundle_that_would_fill_the_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """1 MB of a manifest names 32 GiB."""
    size_bytes, digests = 32768 * CHUNK_BYTES, digest_of(ZEROS[:-1] + b"1") * 32768
    store = Store(str(tmp_path / "store"), cap_bytes=4 << 30)
    count = disk_of(os.fsencode(tmp_path)).free.size_bytes // size_bytes + 1
    manifest = manifest_of(USR, *(File(b"/usr/%d" % n, 0o644, 0, 0, size_bytes, 0, digests) for n in range(count)))
    with pytest.raises(StoreError, match="no room for a bundle"):
        store.partial(manifest, encode(manifest), OWN)
    assert os.listdir(tmp_path / "store" / "drafts") == []


def test_holes_without_end_are_neither_read_nor_written(tmp_path: Path) -> None:
    """1 MB of a manifest names 32 GiB of zeros: to look whether they are there is no work either."""
    size_bytes, digests = 32768 * CHUNK_BYTES, digest_of(ZEROS) * 32768
    manifest = manifest_of(USR, File(b"/usr/f", 0o644, 0, 0, size_bytes, 0, digests))
    before = read_bytes()
    for _ in range(2):
        store = Store(str(tmp_path / "store"), cap_bytes=4 << 30)
        partial = begun(store, manifest)
        assert not partial.missing
        store.abandon(partial)
    root = store.commit(begun(store, manifest))
    assert root.hash()
    root.release()
    assert read_bytes() - before < 64 << 20
    assert os.stat(root.tree + b"/usr/f").st_blocks == 0


def read_bytes() -> int:
    """What this process has read."""
    return int(Path("/proc/self/io").read_text().split()[1])


def begun(store: Store, manifest: Manifest) -> PartialBundle:
    partial = store.partial(manifest, encode(manifest), OWN)
    partial.lay_out(store.read)
    return partial


@pytest.mark.parametrize("level", ["1", ".", "1-9", "7/."])
def test_a_specification_of_very_many_levels_is_refused(level: str) -> None:
    text = "/".join([level] * 2000)
    for parse in (NodeSpec.parse, NodeSpec.parse_exclusion):
        with pytest.raises(SpecError, match=f"more than {LEVELS_MAX} levels"):
            parse(text)


def test_a_specification_that_is_very_long_is_refused() -> None:
    text = ",".join(map(str, range(1, 200_000, 2)))
    for parse in (NodeSpec.parse, NodeSpec.parse_exclusion):
        with pytest.raises(SpecError, match=f"more than {TEXT_BYTES_MAX}"):
            parse(text)


def up_to_the_bound(parts: list[str]) -> str:
    text = ""
    for part in parts:
        if len(text) + len(part) + 1 > TEXT_BYTES_MAX:
            break
        text += part + ","
    return text.rstrip(",")


RACKS: Final[list[NodePath]] = [(rack,) for rack in range(1, 251)]
TREE: Final[list[NodePath]] = [*RACKS, *((*rack, node) for rack in RACKS for node in range(1, 20))]
"""5,000 nodes."""

chance = random.Random(7)
LONGEST: Final = {
    "every other node": up_to_the_bound([str(number) for number in range(1, 100_000, 2)]),
    "every other node of every other rack": up_to_the_bound([f"={n}/{n}" for n in range(1, 100_000, 2)]),
    "boxes in one another": up_to_the_bound([f"={n}-99999/{n}-99999/{n}-99999" for n in range(1, 30_000)]),
    "boxes across": up_to_the_bound([f"={n}-{99_999 - n}/{n + 1}-{99_999 - n}" for n in range(1, 30_000)]),
    "many levels": up_to_the_bound(["/".join(["1-9"] * LEVELS_MAX)] * 30_000),
    "many levels, all different": up_to_the_bound(
        ["/".join(f"{n}-{n + 7}" for n in [k] * LEVELS_MAX) for k in range(1, 9000)]
    ),
    "a chessboard": up_to_the_bound([f"{chance.randrange(1, 99)}/{chance.randrange(1, 99)}" for _ in range(30_000)]),
    "all": "1-1000000000/1-1000000000/1-1000000000",
    "every level": "/".join(["."] * LEVELS_MAX),
}


parsed = cache(NodeSpec.parse)
parsed_exclusion = cache(NodeSpec.parse_exclusion)


@pytest.mark.parametrize("exclusion", LONGEST)
@pytest.mark.parametrize("wanted", LONGEST)
def test_the_worst_specifications_are_answered(wanted: str, exclusion: str) -> None:
    """4 KB took the master 78 s, an exclusion of 55 KB 93 s."""
    spec, without = parsed(LONGEST[wanted]), parsed_exclusion(LONGEST[exclusion])
    try:
        chosen = spec.select(TREE, without)
        missing = spec.missing(TREE, without)
    except SpecError as error:
        assert "ask for fewer at once" in error.reason
    else:
        assert all(not without.selects(path) for path in chosen[:3])
        assert len(missing) <= 1 << 20


def test_specifications_that_people_write_are_within_the_bounds() -> None:
    some = sorted(chance.sample(TREE, 2500))
    spec = NodeSpec.parse(fold(some))
    assert spec.select(TREE) == [path for path in TREE if path in set(some)]
    assert spec.missing([path for path in TREE if len(path) == 1]) == fold(path for path in some if len(path) == 2)
    flat: list[NodePath] = [(number,) for number in range(1, 5001)]
    half = sorted(chance.sample(flat, 2500))
    assert NodeSpec.parse(fold(half)).select(flat) == half
    assert NodeSpec.parse("1-5000").missing(half, NodeSpec.parse(fold(half))) == fold(set(flat) - set(half))
    assert NodeSpec.parse("1-5000").select(flat, NodeSpec.parse_exclusion(fold(half))) == sorted(set(flat) - set(half))


def test_the_worst_request_does_not_keep_others_waiting(cluster: Cluster) -> None:
    cluster.slave(1)
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as peer:
        request = submission(nodes=LONGEST["many levels, all different"], exclude=LONGEST["boxes in one another"])
        peer.say(request).hear(messages.Rejected)
        done = cluster.exec("1", "/bin/echo", "well")
    assert (done.returncode, done.stdout) == (0, b"well\n")


@pytest.mark.stress
def test_a_bundle_of_as_many_links_as_there_may_be_stops_nobody(cluster: Cluster) -> None:
    """150,000 links in 1 MiB made `gproc i` wait for 22 s."""
    cluster.slave(1)
    program = File(b"/usr/program", 0o755, 0, 0, 3, 0, digest_of(b"abc"))
    manifest = manifest_of(USR, program, *links(ENTRIES_MAX - 2), program=program.path)
    encoded = encode(manifest)
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as peer:
        peer.socket.settimeout(4 * PATIENCE_S)  # a busy machine lays out 150,000 links twice
        peer.say(submission(argv=(program.path,), bundle=BundleName(digest_of(encoded), 3)))
        peer.hear(messages.Accepted)
        for digest in peer.hear(messages.Want).digests:
            peer.raw(b"".join(map(piece_frame, frames.pieces(digest, frames.CODEC_RAW, encoded))))
        # While master and node lay it out:
        done = cluster.exec("1", "/bin/echo", "well")
        assert (done.returncode, done.stdout) == (0, b"well\n")
        assert cluster.states() == {"1": "up"}
        assert not isinstance(serve(peer, encoded, {digest_of(b"abc"): b"abc"}).outcome, Lost)


def test_a_question_for_very_many_hosts_and_groups_is_answered_in_one_pass_of_the_tree() -> None:
    """20,000 hosts took minutes with a locale file of racks, 20,000 groups a minute with 5,000 nodes."""
    racks = "".join(
        f'[[rack]]\nhead = "n{rack}"\nnodes = {[f"n{rack}-{node}" for node in range(99)]}\n' for rack in range(50)
    )
    locale = FileLocale.of("file", f'master = "fe"\n{racks}'.encode())
    belonging = Belonging("fe", True, placed_by(locale, 1))
    tree = NamedNodes()
    for rack in range(1, 51):
        head = messages.NodeInfo(f"head{rack}.example.org", ":1", os.urandom(16), "", 1.0)
        tree.registry.arrive(messages.Route((rack,)), head)
        for number in range(1, 101):
            info = messages.NodeInfo(f"m{rack}-{number}.example.org", ":1", os.urandom(16), "", 1.0)
            tree.registry.arrive(messages.Route((rack, number)), info)
    finder = NodeFinder(tree, belonging.place_of, {})
    found = finder.find(FindNodes(1, tuple(f"n49-{number}" for number in range(NAMES_MAX))))
    assert sum(map(len, found.places)) == 99
    groups = finder.find(FindNodes(1, (), tuple(f"rack{number}" for number in range(1, GROUPS_MAX + 1)))).groups
    assert sum(map(bool, groups)) == 50
    with pytest.raises(msgspec.ValidationError):
        encoded = msgspec.msgpack.encode(FindNodes(1, (), ("rack1",) * (GROUPS_MAX + 1)))
        msgspec.msgpack.decode(encoded, type=FindNodes)


class NamedNodes:
    """`service.finding.NamedTree`."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.absences = Absences()
