"""The helper as the bootstrap of a node: it unpacks a runtime whole or not at all, and starts or ends a slave."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import resource
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc import native
from gproc.runtime.archive import Content, archive_of
from gproc.start.script import order_to_take
from tests.launch.conftest import by_clang, sanitized

__all__ = ["by_clang", "sanitized"]

SHELL = Path("/bin/sh")
NAME = "slave-test"
TOKEN = bytes(range(16))

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


@pytest.fixture(params=["native", *(pytest.param(way, marks=pytest.mark.stress) for way in ("by_clang", "sanitized"))])
def helper(request: pytest.FixtureRequest) -> str:
    return os.fsdecode(native.HELPER) if request.param == "native" else str(request.getfixturevalue(request.param))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "own"
    directory.mkdir(0o700)
    return directory


# The kernel is asked to execute ld.so; here it is a script, which sees what a slave would.
RECORDER = b"""#!/bin/sh
cat <&3 >"$0.secret"
echo "$@" >"$0.words"
env >"$0.env"
"""
READY = RECORDER + b"echo joined >&4\nexec sleep 1000 >&6 2>&6 4>&-\n"
FAILING = RECORDER + b"echo 'cannot reach kn1' >&2\nexit 3\n"
HANGING = RECORDER + b"echo begun; sleep 1000\n"


def runtime_of(loader: bytes) -> bytes:
    return archive_of({"ld.so": Content(loader, executable=True), "lib/x": Content(b"x" * 5000)})


class Bootstrap:
    """One run of it, as the front end sees it.  port: where others get what has come, by its last answer "need"."""

    def __init__(self, helper: str, place: Path) -> None:
        self.port = 0
        words = [helper, "bootstrap", str(place)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and its answer says why
            self.process.stdin.write(data)

    def give(self, rest: bytes, offset: int = 0) -> None:
        """What follows an answer "need"."""
        self.send(order_to_take(offset) + rest)

    def answer(self) -> str:
        """The next line that is no sign of life, without its beginning and the port of a "need"; "" at the end."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        while line.startswith("gproc-start doing "):
            line = self.process.stdout.readline().decode()
        line = line.removeprefix("gproc-start ").rstrip("\n")
        if found := re.fullmatch("need ([0-9]+) ([0-9]+)(.*)", line):
            self.port = int(found[2])
            return f"need {found[1]}{found[3]}"
        return line

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        with self.process:
            self.close()
            return self.process.wait(), self.process.stderr.read().decode()


def header(archive: bytes, words: tuple[str, ...] = (NAME, "s"), secret: bytes = b"", flags: int = 0) -> bytes:
    text = b"".join(word.encode() + b"\0" for word in words)
    digest = hashlib.sha256(archive).digest()
    return struct.pack("<4sIQII32s16s", b"gpb1", len(text), len(archive), len(secret), flags, digest, TOKEN) + text


def stop(helper: str, place: Path) -> str:
    done = subprocess.run([helper, "stop", place, NAME], capture_output=True, text=True)
    return done.stdout.splitlines()[-1].removeprefix("gproc-start ")


def runtimes(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir())


@pytest.fixture
def stopped(helper: str, place: Path) -> Iterator[None]:
    """No slave of a test outlives it."""
    yield
    stop(helper, place)


def started(helper: str, place: Path, archive: bytes, **more: object) -> Bootstrap:
    secret = more.get("secret", b"")
    assert isinstance(secret, bytes)
    run = Bootstrap(helper, place)
    run.send(header(archive, **more))  # type: ignore[arg-type]
    if (answer := run.answer()) == "need 0":
        run.give(archive)
        answer = run.answer()
    assert re.fullmatch("have [0-9]+", answer)
    run.send(secret)
    return run


def test_a_slave_gets_its_words_and_its_secret_and_nothing_else_has_the_secret(
    helper: str, place: Path, stopped: None
) -> None:
    archive = runtime_of(READY)
    run = started(helper, place, archive, words=(NAME, "s", "--given"), secret=b"4f1e9c-hidden")
    assert run.answer() == "ready joined"
    assert run.end()[0] == 0
    root = place / f"runtime-{hashlib.sha256(archive).hexdigest()}"
    assert (root / "ld.so.secret").read_bytes() == b"4f1e9c-hidden"
    expected = f"--library-path {root}/lib {root}/bin/python3 -I -S -X utf8 -m gproc s --given"
    assert (root / "ld.so.words").read_text().strip() == expected
    assert "4f1e9c" not in (root / "ld.so.env").read_text()


def test_what_is_there_is_not_asked_for_again(helper: str, place: Path, stopped: None) -> None:
    archive = runtime_of(FAILING)
    for expected in ("need 0", "have 0"):
        run = Bootstrap(helper, place)
        run.send(header(archive))
        assert run.answer() == expected
        if expected == "need 0":
            run.give(archive)
            assert run.answer().startswith("have ")
        assert run.answer() == f"ended {3 << 8}"
        status, said = run.end()
        assert status == 1
        assert "cannot reach kn1" in said


def test_a_slave_that_is_there_is_named_or_replaced(helper: str, place: Path, stopped: None) -> None:
    archive = runtime_of(READY)
    run = started(helper, place, archive)
    assert run.answer() == "ready joined"
    run.end()
    second = started(helper, place, archive)
    word, _, pid = second.answer().partition(" ")
    assert word == "found"
    os.kill(int(pid), 0)
    second.end()
    third = started(helper, place, archive, flags=1)
    assert third.answer() == "ready joined"
    third.end()
    fourth = started(helper, place, archive)
    assert fourth.answer() not in (f"found {pid}", "")
    fourth.end()
    assert stop(helper, place) == "stopped"
    assert stop(helper, place) == "none"


def test_a_front_end_that_goes_away_leaves_no_slave(helper: str, place: Path, stopped: None) -> None:
    run = started(helper, place, runtime_of(HANGING))
    assert run.answer() == "begun"
    run.close()
    assert run.answer() == "abandoned"
    assert run.end()[0] == 1
    assert stop(helper, place) == "none"


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


def other_runtime(mark: int) -> bytes:
    return archive_of({"ld.so": Content(READY, executable=True), "lib/x": Content(b"%d" % mark)})


def name_of(archive: bytes) -> str:
    return f"runtime-{hashlib.sha256(archive).hexdigest()}"


def test_old_runtimes_do_not_pile_up_but_the_last_one_stays(helper: str, place: Path, stopped: None) -> None:
    """50 MB each."""
    archives = [other_runtime(mark) for mark in range(4)]
    for archive in archives:
        run = started(helper, place, archive, flags=1)
        assert run.answer() == "ready joined"
        run.end()
    assert runtimes(place) == sorted(map(name_of, archives[2:]))
    started(helper, place, archives[2], flags=1).end()
    assert runtimes(place) == sorted(map(name_of, archives[2:])), "nothing is sent again to who goes back"


def test_a_runtime_that_a_slave_of_another_cluster_uses_stays(helper: str, place: Path, stopped: None) -> None:
    archives = [other_runtime(mark) for mark in range(4)]
    other = started(helper, place, archives[0], words=("s-other", "s"))
    assert other.answer() == "ready joined"
    for archive in archives[1:]:
        run = started(helper, place, archive, flags=1)
        assert run.answer() == "ready joined"
        run.end()
    kept = {name_of(archives[0]), name_of(archives[3])}
    assert kept <= set(runtimes(place)) and name_of(archives[1]) not in runtimes(place)
    assert idle(helper, place) == (3, f"kept another slave of this user runs there: {place}/s-other.lock")
    subprocess.run([helper, "stop", place, "s-other"], check=True, stdout=subprocess.DEVNULL)
    other.end()
    stop(helper, place)
    assert idle(helper, place) == (0, ""), "the file of a lock that nobody holds is none"
    assert (place / "s-other.lock").exists()


def test_a_runtime_stays_whose_slave_is_only_about_to_start(helper: str, place: Path, stopped: None) -> None:
    archives = [other_runtime(mark) for mark in range(4)]
    about = Bootstrap(helper, place)
    about.send(header(archives[0], words=("s-about", "s"), secret=b"later"))
    assert about.answer() == "need 0"
    about.give(archives[0])
    assert about.answer().startswith("have ")
    for archive in archives[1:]:
        run = started(helper, place, archive, flags=1)
        assert run.answer() == "ready joined"
        run.end()
    about.send(b"later")
    assert about.answer() == "ready joined"
    subprocess.run([helper, "stop", place, "s-about"], check=True, stdout=subprocess.DEVNULL)
    about.end()


def test_a_runtime_stays_from_which_anything_runs_or_which_a_command_needs(
    helper: str, place: Path, stopped: None
) -> None:
    """`~/.local/share/gproc/gproc s`, which scripts/copytonodes.sh installs, has no lock."""
    archives = [other_runtime(mark) for mark in range(5)]
    started(helper, place, archives[0]).end()
    (place / f"{name_of(archives[0])}.kept").touch()
    started(helper, place, archives[1], flags=1).end()
    program = place / name_of(archives[1]) / "program"
    program.write_bytes(Path(os.fsdecode(native.HELPER)).read_bytes())
    program.chmod(0o700)
    (waits := place.parent / "waits").mkdir(0o700)
    with subprocess.Popen([program, "bootstrap", waits], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as runs:
        for archive in archives[2:]:
            started(helper, place, archive, flags=1).end()
        found = runtimes(place)
        runs.kill()
    assert {name_of(archives[index]) for index in (0, 1, 4)} <= set(found)
    assert name_of(archives[2]) not in found


def test_helpers_stayed_for_ever(helper: str, place: Path, stopped: None) -> None:
    """55 kB for each version: the one that starts a slave stays, one that runs, and if none does the last one."""
    content = Path(helper).read_bytes()
    for mark in range(6):
        path = place / f"helper-{mark:032x}"
        path.write_bytes(content)
        path.chmod(0o700)
        os.utime(path, (mark, mark))
    (waits := place.parent / "waits").mkdir(0o700)

    def after(mark: int) -> list[int]:
        run = started(str(place / f"helper-{mark:032x}"), place, runtime_of(READY), flags=1)
        assert run.answer() == "ready joined"
        run.end()
        return sorted(int(path.name[7:], 16) for path in place.glob("helper-*"))

    with subprocess.Popen([place / f"helper-{1:032x}", "bootstrap", waits], stdin=subprocess.PIPE) as runs:
        assert after(2) == [1, 2]
        runs.kill()
    for mark in range(3, 6):
        (place / f"helper-{mark:032x}").write_bytes(content)
        (place / f"helper-{mark:032x}").chmod(0o700)
        os.utime(place / f"helper-{mark:032x}", (mark, mark))
    assert after(5) == [2, 5], "and the one that was used last, though others came later"


def test_a_machine_with_the_same_home_had_its_half_unpacked_runtime_removed(
    helper: str, place: Path, stopped: None
) -> None:
    """Its locks are not seen here.  What it unpacks has another name; who comes second takes what is there."""
    archive = runtime_of(READY)
    (others := place / ".new-00000000-0000-0000-0000-000000000000").mkdir()
    (left := place / ".new-11111111-1111-1111-1111-111111111111").mkdir()
    os.utime(left, (0, 0))
    run = Bootstrap(helper, place)
    run.send(header(archive))
    assert run.answer() == "need 0"
    winner = place / name_of(archive)
    winner.mkdir()
    (winner / "ld.so").write_bytes(READY)
    (winner / "ld.so").chmod(0o700)
    run.give(archive)
    assert re.fullmatch("have [0-9]+", run.answer())
    assert run.answer() == "ready joined"
    run.end()
    assert others.exists() and not left.exists()
    assert [path.name for path in winner.iterdir() if path.suffix == ""] == [], "the winner's"
    assert [path.name for path in place.glob(".new*")] == [others.name]


def idle(helper: str, place: Path) -> tuple[int, str]:
    done = subprocess.run([helper, "idle", place], capture_output=True, text=True)
    return done.returncode, done.stdout.removeprefix("gproc-start ").rstrip("\n")
