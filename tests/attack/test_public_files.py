"""A slave or master that is root tells of its own files only what every user of that machine could see."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from gproc.content.manifest import Directory, File, Manifest, Symlink, digest_of, encode
from gproc.disk.mounted import Mount
from gproc.disk.public import PublicFiles
from gproc.request.outcome import Lost
from gproc.request.spec import BundleName
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFiles
from gproc.store.partial import Owner
from gproc.store.store import Store
from gproc.wire import frames, messages
from tests.attack.peer import Peer, dial_unix
from tests.attack.target import submission
from tests.pieces import piece_frame
from tests.system.cluster import Cluster

SECRET: Final = b"root:$6$guess\n"
MALLORY: Final = 64_321
BANNER: Final = b"GNU C Library (Debian GLIBC 9.99-1) stable release version 9.99.\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def public(place: Path) -> Path:
    path = place / "file"
    path.write_bytes(SECRET)
    path.chmod(0o644)
    return path


def closed_file(place: Path) -> Path:
    path = public(place)
    path.chmod(0o640)
    return path


def in_a_closed_directory(place: Path) -> Path:
    (place / "closed").mkdir()
    path = public(place / "closed")
    (place / "closed").chmod(0o700)
    return path


def below_a_closed_directory(place: Path) -> Path:
    (place / "closed" / "open").mkdir(parents=True)
    path = public(place / "closed" / "open")
    (place / "closed").chmod(0o750)
    return path


def through_a_users_link(place: Path) -> Path:
    (place / "there").mkdir()
    path = public(place / "there")
    (place / "link").symlink_to("there")
    os.chown(place / "link", MALLORY, MALLORY, follow_symlinks=False)
    return place / "link" / path.name


def a_users_own(place: Path) -> Path:
    path = public(place)
    os.chown(path, MALLORY, MALLORY)
    return path


def in_a_users_directory(place: Path) -> Path:
    (place / "his").mkdir()
    path = public(place / "his")
    os.chown(place / "his", MALLORY, MALLORY)
    return path


def writable_by_a_group(place: Path) -> Path:
    path = public(place)
    path.chmod(0o664)
    return path


HIDDEN: Final[list[Callable[[Path], Path]]] = [
    closed_file, in_a_closed_directory, below_a_closed_directory, through_a_users_link, a_users_own,
    in_a_users_directory, writable_by_a_group,
]  # fmt: skip


def as_root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, who could read anything")


def guess(path: Path, content: bytes = SECRET) -> File:
    return File(os.fsencode(path), 0o444, 0, 0, len(content), 0, digest_of(content))


def bundle_with(*files: File, **changes: object) -> Manifest:
    parents = {parent for file in files for parent in Path(os.fsdecode(file.path)).parents}
    directories = [Directory(os.fsencode(parent), 0o755, 0, 0) for parent in sorted(parents) if str(parent) != "/"]
    given: dict[str, object] = {
        "program": files[0].path, "loader": b"", "library_dirs": (), "glibc": (), "glibc_version": (0, 0),
        "code_dirs": (files[0].path.rpartition(b"/")[0],), "entries": (*directories, *files), **changes,
    }  # fmt: skip
    return Manifest(**given)  # type: ignore[arg-type]


def test_a_public_file_is_compared(place: Path) -> None:
    assert NodeFiles().has(guess(public(place)))


@pytest.mark.parametrize("hide", HIDDEN, ids=lambda hide: hide.__name__)
def test_a_node_does_not_tell_whether_a_hidden_file_was_guessed(place: Path, hide: Callable[[Path], Path]) -> None:
    as_root_only()
    assert not NodeFiles().has(guess(hide(place)))


@pytest.mark.parametrize("hide", HIDDEN, ids=lambda hide: hide.__name__)
def test_a_store_asks_for_a_hidden_file_whether_or_not_it_was_guessed(
    place: Path, tmp_path: Path, hide: Callable[[Path], Path]
) -> None:
    """The master's store, which is asked for what is missing, and a node's."""
    as_root_only()
    manifest = bundle_with(guess(hide(place)))
    partial = Store(str(tmp_path / "store")).partial(manifest, encode(manifest), Owner(MALLORY, MALLORY))
    partial.lay_out(lambda _: None)
    assert list(partial.missing) == [digest_of(SECRET)]


def test_the_target_of_a_hidden_link_is_not_told(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "closed" / "link").symlink_to("secret")
    as_root_only()
    assert not NodeFiles().has(Symlink(os.fsencode(place / "closed" / "link"), b"secret"))


def test_the_existence_of_a_hidden_directory_is_not_told(place: Path) -> None:
    as_root_only()
    (place / "closed").mkdir(mode=0o700)
    (place / "closed" / "there" / "child").mkdir(parents=True)
    for name in ("there", "not-there"):
        layout = CodeLayout(bundle_with(guess(place / "closed" / name / "code" / "file")))
        found = NodeFiles().facts(layout, namespaces=True, overlay=True).directories
        (directory,) = found.values()
        assert (directory.path, directory.missing, directory.children) == (os.fsencode(place), 3, ())
        assert not directory.system


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sparse_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


def device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero never ends


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("make", [fifo, sparse_file, device, unix_socket], ids=lambda make: make.__name__)
@pytest.mark.parametrize("owner", [0, MALLORY])
def test_only_a_regular_public_file_is_read_as_a_libc(place: Path, make: Callable[[Path], None], owner: int) -> None:
    as_root_only()
    libc = place / "libc.so.6"
    make(libc)
    libc.chmod(0o644)
    os.chown(libc, owner, owner)
    layout = CodeLayout(bundle_with(guess(libc), glibc=(os.fsencode(libc),), glibc_version=(2, 41)))
    facts = NodeFiles().facts(layout, namespaces=True, overlay=True)
    assert facts.glibc_version == (0, 0)
    assert not NodeFiles().has(guess(libc))


def test_a_users_file_is_not_taken_for_the_nodes_libc(place: Path) -> None:
    as_root_only()
    libc = place / "libc.so.6"
    libc.write_bytes(BANNER)
    libc.chmod(0o644)
    assert NodeFiles().glibc_version(os.fsencode(libc)) == (9, 99)
    os.chown(libc, MALLORY, MALLORY)
    assert NodeFiles().glibc_version(os.fsencode(libc)) == (0, 0)


@pytest.mark.parametrize("path", [b"/proc/cpuinfo", b"/proc/self/exe", b"/sys/kernel/notes", b"/dev/null"])
def test_files_of_proc_and_sys_are_not_the_nodes_files(path: bytes) -> None:
    with PublicFiles() as files:
        assert files.open(path) is None
        assert files.open(path, follow=True) is None


def test_a_users_own_file_system_is_not_read(place: Path) -> None:
    path = public(place)
    device_of = place.stat().st_dev
    theirs = Mount(b"/mnt", device_of, b"fuse.sshfs", b"rw,user_id=%d,group_id=0,allow_other" % MALLORY)
    roots = Mount(b"/mnt", device_of, b"fuse.sshfs", b"rw,user_id=0,group_id=0,allow_other")
    with PublicFiles(mounted=[theirs]) as files:
        assert files.open(os.fsencode(path)) is None
    with PublicFiles(mounted=[roots]) as files:
        handle = files.open(os.fsencode(path))
        assert handle is not None
        os.close(handle)


def test_links_of_roots_lead_as_they_do_for_everybody(place: Path) -> None:
    (place / "usr" / "lib").mkdir(parents=True)
    path = public(place / "usr" / "lib")
    (place / "lib").symlink_to("usr/lib")
    (place / "up").symlink_to("lib/../lib")
    (place / "absolute").symlink_to("/usr/lib")
    (place / "loop").symlink_to("loop")
    (place / "usr" / "lib" / "name").symlink_to("../../lib/file")
    (place / "dangling").symlink_to("usr/none/below")
    with PublicFiles(os.fsencode(place), []) as files:
        for name in (b"/lib/file", b"/up/file", b"/absolute/file", b"/usr/lib/file"):
            handle = files.open(name)
            assert handle is not None, name
            assert os.path.samestat(os.fstat(handle), path.stat())
            os.close(handle)
        assert files.open(b"/lib/name") is None
        handle = files.open(b"/lib/name", follow=True)
        assert handle is not None
        os.close(handle)
        assert files.open(b"/loop", follow=True) is None
        assert files.directory(b"/loop/x") is None
        assert (files.nearest(b"/dangling/x").place.path, files.nearest(b"/dangling/x").missing) == (b"/usr", 3)
        assert files.nearest(b"/lib").place.path == b"/usr/lib"
        assert files.nearest(b"/lib/file/x").missing == 2


def test_a_bundle_in_ten_thousand_directories_leaves_no_descriptor_open(place: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(600):
        (place / str(number)).mkdir()
        public(place / str(number))
    with PublicFiles() as files:
        for number in range(600):
            assert files.status(os.fsencode(place / str(number) / "file")) is not None
        assert len(os.listdir("/proc/self/fd")) < before + 300
    assert len(os.listdir("/proc/self/fd")) == before


def serve(peer: Peer, encoded: bytes, contents: dict[bytes, bytes]) -> messages.Finished:
    """Be the client of a job with this bundle, to its end."""
    while True:
        answer = peer.hear(messages.Message)
        if isinstance(answer, messages.Finished):
            return answer
        if isinstance(answer, messages.Want):
            for digest in answer.digests:
                data = encoded if digest == answer.bundle else contents[digest]
                peer.raw(b"".join(map(piece_frame, frames.pieces(digest, frames.CODEC_RAW, data))))


def test_a_fifo_at_the_libc_of_a_bundle_does_not_stop_its_node(cluster: Cluster, place: Path) -> None:
    """The attack of the first release: the slave hung for good, and its jobs were reported lost."""
    cluster.slave(1)
    libc = place / "libc.so.6"
    os.mkfifo(libc, 0o666)
    libc.chmod(0o666)
    manifest = bundle_with(guess(libc), glibc=(os.fsencode(libc),), glibc_version=(2, 41))
    encoded = encode(manifest)
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as peer:
        peer.say(submission(argv=(os.fsencode(libc),), bundle=BundleName(digest_of(encoded), len(SECRET))))
        assert not isinstance(serve(peer, encoded, {digest_of(SECRET): SECRET}).outcome, Lost)
    done = cluster.exec("1", "/bin/echo", "well")
    assert (done.returncode, done.stdout) == (0, b"well\n")
