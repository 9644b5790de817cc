"""The helper unpacks a runtime whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

from gproc import native
from gproc.runtime.archive import Content, archive_of
from tests.native.bootstrap import FAILING, READY, Bootstrap, header, runtime_of, runtimes

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


@pytest.mark.parametrize("part", [0, 1, 500])
def test_half_a_runtime_is_not_kept(helper: str, place: Path, part: int) -> None:
    archive = runtime_of(FAILING)
    run = Bootstrap(helper, place)
    run.send(header(archive))
    assert run.answer() == "need 0"
    run.give(archive[: len(archive) * part // 1000])
    run.close()
    assert run.answer() == f"failed {32} the front end is gone: runtime"
    run.end()
    assert runtimes(place) == []


def test_an_archive_with_another_digest_is_refused(helper: str, place: Path) -> None:
    archive, other = runtime_of(READY), runtime_of(READY + b"# ")
    run = Bootstrap(helper, place)
    run.send(header(archive + bytes(len(other) - len(archive)) if len(other) > len(archive) else archive[: len(other)]))
    assert run.answer() == "need 0"
    run.give(other)
    assert "it is not the one that was announced" in run.answer()
    run.end()
    assert runtimes(place) == []


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(file.getvalue(), mtime=0)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o755
    return info


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("/out")],
        [member("a", tarfile.DIRTYPE), member("a/../../out")],
        [member("./out")],
        [member("out", tarfile.SYMTYPE, "/etc")],
        [member("out", tarfile.LNKTYPE, "/etc/passwd")],
        [member("out", tarfile.FIFOTYPE)],
        [member("out", tarfile.CHRTYPE)],
        [member("a/" * 60 + "out")],
        [member("twice"), member("twice")],
        [member("none/out")],
    ],
    ids=lambda members: members[-1].name[:12] + members[-1].type.decode(),
)
def test_an_archive_that_would_write_elsewhere_or_anything_but_files_is_refused(
    helper: str, place: Path, members: list[tarfile.TarInfo]
) -> None:
    archive = tar_of(*((each, b"") for each in members))
    run = Bootstrap(helper, place)
    run.send(header(archive))
    assert run.answer() == "need 0"
    run.give(archive)
    assert run.answer().startswith("failed ")
    run.end()
    assert runtimes(place) == []
    assert not (place.parent / "out").exists()


def test_more_than_a_runtime_may_have_is_refused_before_it_fills_the_disk(helper: str, place: Path) -> None:
    info = member("big")
    info.size = 300 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    archive = packer.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1000)) + packer.flush()
    run = Bootstrap(helper, place)
    run.send(header(archive))
    assert run.answer() == "need 0"
    run.give(archive)
    assert "larger than it may be" in run.answer()
    run.end()


@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_whatever_zlib_writes_is_unpacked_as_it_was(helper: str, place: Path, level: int, strategy: int) -> None:
    """Text, zeros, and bytes that cannot be compressed; more of each than the 32 KiB that a match may reach back."""
    contents = {
        "text": b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(9000)),
        "zeros": bytes(100_000),
        "random": b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(3000)),
        "empty": b"",
        "program": Path(sys.executable).resolve().read_bytes()[:400_000],
    }
    plain = gzip.decompress(archive_of({name: Content(data) for name, data in contents.items()}))
    packer = zlib.compressobj(level, zlib.DEFLATED, 31, 9, strategy)
    archive = packer.compress(plain) + packer.flush()
    run = Bootstrap(helper, place)
    run.send(header(archive))
    assert run.answer() == "need 0"
    run.give(archive)
    assert run.answer().startswith("have ")
    assert run.answer().startswith("failed 2 ")  # there is no ld.so in it
    run.end()
    (root,) = (place / name for name in runtimes(place))
    assert {path.name: path.read_bytes() for path in root.iterdir()} == contents


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"gpb0" + bytes(68),
        b"gpb1" + b"\xff" * 68,
        header(b"", words=("../up", "s")),
        header(b"", words=()),
        header(b"", words=tuple("x" * 70)),
        struct.pack("<4sIQII48s", b"gpb1", 3, 0, 0, 0, b"") + b"abc",
        struct.pack("<4sIQII48s", b"gpb1", 6, 0, 70000, 0, b"") + b"slave\0",
    ],
)
def test_a_broken_header_is_refused_with_what_is_wrong(helper: str, place: Path, stream: bytes) -> None:
    run = Bootstrap(helper, place)
    run.send(stream)
    run.close()
    assert run.answer().startswith("failed ")
    assert run.end()[0] == 1
    assert list(place.iterdir()) == []


def test_a_directory_in_which_others_write_is_not_used(helper: str, place: Path) -> None:
    place.chmod(0o777)
    run = Bootstrap(helper, place)
    run.send(header(runtime_of(READY)))
    assert run.answer() == f"failed 1 others can write there: {place}"
    run.end()
    link = place.parent / "link"
    link.symlink_to(place)
    run = Bootstrap(helper, link)
    assert run.answer().startswith("failed 20 ")
    run.end()


def test_a_full_disk_is_said_with_the_kernels_word(helper: str, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    place = tmp_path / "small"
    place.mkdir(0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", place]).returncode != 0:
        pytest.skip("needs mount(2)")
    try:
        archive = archive_of({"big": Content(bytes(1 << 20))})
        run = Bootstrap(helper, place)
        run.send(header(archive))
        assert run.answer() == "need 0"
        run.give(archive)
        assert run.answer() == f"failed 28 it has no room for the runtime, 50 MB in 100 files: {place}"
        run.end()
        assert runtimes(place) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_limit_of_the_size_of_files_ended_the_helper_without_a_word(helper: str, place: Path) -> None:
    archive = archive_of({"big": Content(os.urandom(1 << 20))})
    run = Bootstrap(helper, place)
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
    run.send(header(archive))
    assert run.answer() == "need 0"
    run.give(archive)
    assert run.answer() == "failed 27 -: big", "File too large"
    run.end()
