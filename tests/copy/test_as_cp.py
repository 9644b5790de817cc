"""What is placed lies as `cp -a` would have laid it; told apart by running both."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from gproc.bundle.unsized import SMALL_BYTES
from gproc.content.manifest import CHUNK_BYTES
from gproc.copy.packing import pack
from gproc.copy.placing import place
from gproc.copy.steps import INDEX, End, Folder, Leaf, Leave, step_frame
from gproc.errors import BundleError
from gproc.packager import Bundle, read_chunk

Snapshot = dict[bytes, tuple[object, ...]]


def laid_out(bundle: Bundle, at: Path) -> Path:
    """As a store has it."""
    for file in bundle.manifest.files():
        content = b"".join(read_chunk(bundle, digest) for digest, _, _ in file.chunks())
        (at / os.fsdecode(file.path[1:])).write_bytes(content)
    return at


def packed(sources: list[str]) -> Bundle:
    """A bundle of sources that can all be read."""

    def missed(path: bytes, error: OSError) -> NoReturn:
        raise AssertionError(path) from error

    bundle = pack(sources, missed)
    assert bundle is not None
    return bundle


def placed(sources: list[str], to: str, store: Path) -> list[str]:
    """Pack and place; what was complained of."""
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    complaints: list[str] = []
    handle = os.open(laid_out(packed(sources), store), os.O_PATH | os.O_DIRECTORY)
    try:
        place(handle, os.fsencode(to), complaints.append)
    finally:
        os.close(handle)
    return complaints


def snapshot(top: Path) -> Snapshot:
    """All of a tree that a copy is to keep, by relative path."""
    found: Snapshot = {}
    base = os.fsencode(top)
    for folder, directories, files in os.walk(base):
        for name in (*directories, *files):
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            content: object = None
            if stat.S_ISREG(facts.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            found[os.path.relpath(path, base)] = (
                stat.S_IFMT(facts.st_mode), stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, content,
            )  # fmt: skip
    return found


def times(top: Path, among: Snapshot) -> dict[bytes, int]:
    return {path: os.lstat(os.path.join(os.fsencode(top), path)).st_mtime_ns for path in among}


SOURCES_UNTIL_NS = 10**18 + 10**9
"""Before this, in 2001, everything in a source was written, and nothing else."""


def make_source(at: Path) -> None:
    """A file, a tree and links to both; nothing in it has a usual mode or time."""
    at.mkdir()
    (at / "file").write_text("new\n")
    (at / "empty").touch()
    (at / "tree" / "deep" / "er").mkdir(parents=True)
    (at / "tree" / "hollow").mkdir()
    (at / "tree" / "one").write_text("one\n")
    (at / "tree" / "deep" / "two").write_bytes(b"\0\1\2" * 1000)
    (at / "tree" / "deep" / "er" / "same as one").write_text("one\n")
    Path(os.fsdecode(os.fsencode(at / "tree") + b"/\xff\n\x1b")).write_text("a name of bytes\n")
    (at / "tree" / "gone").symlink_to("nowhere/at/all")
    (at / "tree" / "up").symlink_to("../file")
    (at / "tree" / "deep" / "dir link").symlink_to("er")
    (at / "to file").symlink_to("file")
    (at / "to tree").symlink_to("tree")
    (at / "file").chmod(0o640)
    (at / "tree" / "one").chmod(0o511)
    (at / "tree" / "deep").chmod(0o1777)
    (at / "tree" / "hollow").chmod(0o500)
    if os.geteuid() == 0:
        (at / "tree" / "deep" / "two").chmod(0o755)
        os.chown(at / "tree" / "deep" / "two", 1234, 4321)
        (at / "tree" / "deep" / "two").chmod(0o6755)
        os.chown(at / "tree" / "gone", 77, 88, follow_symlinks=False)
        os.chown(at / "tree" / "deep", 12, 34)
    for number, path in enumerate(sorted(at.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18 + number, 10**18 + 1001 * number + 7), follow_symlinks=False)


def empty(there: Path) -> None:
    there.mkdir()


def with_directory(there: Path) -> None:
    (there / "dest").mkdir(parents=True)
    (there / "dest" / "kept").write_text("kept\n")


def with_other_tree(there: Path) -> None:
    with_directory(there)
    (there / "dest" / "tree" / "deep").mkdir(parents=True)
    (there / "dest" / "tree" / "one").write_text("old\n")
    (there / "dest" / "tree" / "up").symlink_to("old/target")
    (there / "dest" / "tree" / "deep" / "mine").write_text("mine\n")


def with_file(there: Path) -> None:
    there.mkdir()
    (there / "dest").write_text("old and longer\n")


def with_link_to_directory(there: Path) -> None:
    (there / "real").mkdir(parents=True)
    (there / "dest").symlink_to("real")


def with_directory_in_the_files_place(there: Path) -> None:
    (there / "dest" / "file").mkdir(parents=True)


def with_file_in_the_directorys_place(there: Path) -> None:
    with_directory(there)
    (there / "dest" / "tree").write_text("a file\n")


class Case(NamedTuple):
    sources: tuple[str, ...]
    to: str
    there: Callable[[Path], None]


CASES = [
    Case(("file",), "dest", empty),
    Case(("file",), "dest", with_file),
    Case(("file",), "dest", with_directory),
    Case(("file",), "dest/", with_directory),
    Case(("file",), "dest/", empty),
    Case(("file",), "missing/dest", empty),
    Case(("file",), "dest/.", with_directory),
    Case(("file",), "dest", with_link_to_directory),
    Case(("file",), "dest", with_directory_in_the_files_place),
    Case(("file", "empty"), "dest", with_directory),
    Case(("file", "empty", "tree"), "dest/", with_directory),
    Case(("file", "empty"), "dest", empty),
    Case(("file", "empty"), "dest", with_file),
    Case(("tree",), "dest", empty),
    Case(("tree",), "dest/", empty),
    Case(("tree/",), "dest", empty),
    Case(("tree",), "dest", with_directory),
    Case(("tree/",), "dest/", with_directory),
    Case(("tree",), "dest", with_other_tree),
    Case(("tree",), "dest", with_file),
    Case(("tree",), "dest", with_file_in_the_directorys_place),
    Case(("tree",), "dest", with_link_to_directory),
    Case(("tree/.",), "dest", empty),
    Case(("tree/.",), "dest", with_directory),
    Case(("tree/.",), "dest/tree", with_other_tree),
    Case(("tree/deep/..",), "dest", with_directory),
    Case(("to file",), "dest", empty),
    Case(("to file",), "dest", with_directory),
    Case(("to tree",), "dest", with_directory),
    Case(("to tree/",), "dest", with_directory),
    Case(("to tree/.",), "dest", with_directory),
    Case(("tree/gone", "tree/hollow"), "dest", with_directory),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{'+'.join(case.sources)}->{case.to}:{case.there.__name__}")
def test_a_copy_is_as_cp_makes_it(tmp_path: Path, case: Case) -> None:
    make_source(tmp_path / "source")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for there in (ours, theirs):
        case.there(there)
    sources = [f"{tmp_path}/source/{source}" for source in case.sources]
    done = subprocess.run(["cp", "-a", *sources, f"{theirs}/{case.to}"], capture_output=True, text=True)
    complaints = placed(sources, f"{ours}/{case.to}", tmp_path / "store")
    assert bool(complaints) == (done.returncode != 0), (complaints, done.stderr)
    expected = snapshot(theirs)
    assert snapshot(ours) == expected
    if not complaints:
        kept = {path: when for path, when in times(theirs, expected).items() if when < SOURCES_UNTIL_NS}
        assert kept
        assert times(ours, {path: expected[path] for path in kept}) == kept


def test_a_file_that_is_there_with_another_time_only_gets_the_time(tmp_path: Path) -> None:
    make_source(tmp_path / "source")
    placed([f"{tmp_path}/source/file"], f"{tmp_path}/file", tmp_path / "store")
    os.utime(tmp_path / "file", (1, 1))
    before = (tmp_path / "file").stat().st_ino
    assert placed([f"{tmp_path}/source/file"], f"{tmp_path}/file", tmp_path / "store") == []
    after = (tmp_path / "file").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before, (tmp_path / "source" / "file").stat().st_mtime_ns)


def test_another_name_of_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    make_source(tmp_path / "source")
    placed([f"{tmp_path}/source/file"], f"{tmp_path}/file", tmp_path / "store")
    os.utime(tmp_path / "file", (1, 1))
    os.link(tmp_path / "file", tmp_path / "other name")
    (tmp_path / "source" / "file").chmod(0o604)
    assert placed([f"{tmp_path}/source/file"], f"{tmp_path}/file", tmp_path / "store") == []
    assert (tmp_path / "other name").stat().st_mtime == 1
    assert stat.S_IMODE((tmp_path / "other name").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604


def test_equal_contents_are_sent_once(tmp_path: Path) -> None:
    make_source(tmp_path / "source")
    bundle = packed([f"{tmp_path}/source"])
    contents = {path.read_bytes() for path in (tmp_path / "source").rglob("*") if path.is_file()}
    sent = [file.size_bytes for file in bundle.manifest.files() if file.path != b"/" + INDEX]
    assert sum(sent) == sum(map(len, contents))


def test_a_file_that_changes_while_it_is_sent_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before" + bytes(SMALL_BYTES))
    bundle = packed([str(tmp_path / "file")])
    (tmp_path / "file").write_bytes(b"behind" + bytes(SMALL_BYTES))
    content = next(file for file in bundle.manifest.files() if file.path != b"/" + INDEX)
    with pytest.raises(BundleError, match=f"{tmp_path}/file: changed"):
        read_chunk(bundle, next(content.chunks())[0])


def test_a_small_file_that_changes_while_it_is_sent_goes_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    bundle = packed([str(tmp_path / "file")])
    (tmp_path / "file").write_text("behind")
    content = next(file for file in bundle.manifest.files() if file.path != b"/" + INDEX)
    assert read_chunk(bundle, next(content.chunks())[0]) == b"before"


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES + 1, CHUNK_BYTES, 2 * CHUNK_BYTES])
def test_a_file_that_grows_while_it_is_read_is_copied_as_long_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size_bytes))
    pread = os.pread

    def write_and_read(handle: int, size: int, offset: int) -> bytes:
        with path.open("a") as file:
            file.write("more")
        return pread(handle, size, offset)

    monkeypatch.setattr("gproc.content.holes.os.pread", write_and_read)
    bundle = packed([str(path)])
    monkeypatch.undo()
    content = next(file for file in bundle.manifest.files() if file.path != b"/" + INDEX)
    assert b"".join(read_chunk(bundle, digest) for digest, _, _ in content.chunks()) == bytes(size_bytes)


def test_a_thousand_small_files_are_a_few_of_the_store(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1000):
        (source / str(number)).write_text(str(number))
    assert len(list(packed([str(source)]).manifest.files())) <= 4
    assert placed([str(source)], f"{tmp_path}/there", tmp_path / "store") == []
    assert snapshot(tmp_path / "there") == snapshot(source)


@pytest.mark.parametrize(("size_bytes", "offset"), [(7, 0), (1, 6), (1, 2**62), (2**62, 6)])
def test_a_content_beyond_the_end_of_its_pack_is_complained_of(tmp_path: Path, size_bytes: int, offset: int) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "pack-0").write_bytes(b"secret")
    leaf = Leaf(b"f", 0o600, 0, 0, 0, size_bytes, b"pack-0", offset)
    (tmp_path / "store" / os.fsdecode(INDEX)).write_bytes(step_frame(leaf) + step_frame(End()))
    (tmp_path / "there").mkdir()
    complaints: list[str] = []
    handle = os.open(tmp_path / "store", os.O_PATH | os.O_DIRECTORY)
    place(handle, os.fsencode(tmp_path / "there"), complaints.append)
    os.close(handle)
    assert len(complaints) == 1
    assert os.listdir(tmp_path / "there") == []


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"garbage!",
        step_frame(End()),
        step_frame(Leave()) + step_frame(End()),
        step_frame(Leaf(b"f", 0, 0, 0, 0, 0)) + step_frame(End()),
        step_frame(Folder(b"f", 0, 0, 0, 0)) + step_frame(End()),
    ],
)
def test_bytes_that_are_no_index_place_nothing(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / os.fsdecode(INDEX)).write_bytes(index)
    (tmp_path / "there").mkdir()
    complaints: list[str] = []
    place(os.open(tmp_path / "store", os.O_PATH), os.fsencode(tmp_path / "there"), complaints.append)
    assert len(complaints) == 1
    assert os.listdir(tmp_path / "there") == []
