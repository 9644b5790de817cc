"""From a name to a bundle; when the cache answers and when it must not."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle.linking import elf
from gproc.bundle.linking.glibc import is_part
from gproc.bundle.memo import Memo
from gproc.content.manifest import CHUNK_BYTES, Digest, Directory, File, Symlink, check, decode, digest_of
from gproc.errors import BundleError, ProgramNotExecutable, ProgramNotFound
from gproc.packager import Bundle, PackRequest, find_program, pack, read_chunk

Pack = Callable[..., Bundle]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A shell script that is old enough for the cache."""
    path = tmp_path / "prog"
    path.write_text("#!/bin/sh\necho one\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., PackRequest]:
    def make(program: str | Path, *extra: str, **environ: str) -> PackRequest:
        environ = {"PATH": "/usr/bin:/bin", **environ}
        return PackRequest(
            program=str(program), cwd=str(tmp_path), environ=environ, extra=extra, cache_dir=str(tmp_path / "cache")
        )

    return make


def was_warm(bundle: Bundle) -> bool:
    return not bundle.reasons


def paths(bundle: Bundle) -> set[str]:
    return {os.fsdecode(entry.path) for entry in bundle.manifest.entries}


def test_a_bundle_is_a_manifest_that_passes_its_own_check(packed: Pack) -> None:
    bundle = packed("date")
    check(bundle.manifest)
    assert decode(bundle.encoded) == bundle.manifest
    assert bundle.digest == digest_of(bundle.encoded)
    for file in bundle.manifest.files():
        assert sum(length for _, _, length in file.chunks()) == file.size_bytes


def test_the_same_program_packed_twice_is_the_same_bundle(packed: Pack) -> None:
    assert packed("date").digest == packed("date").digest


def test_date_is_its_file_and_glibc_and_no_more(packed: Pack) -> None:
    manifest = packed("date").manifest
    if not manifest.loader.endswith(b"ld-linux-x86-64.so.2"):
        pytest.skip("needs a date of glibc for x86-64")
    names = {os.path.basename(file.path) for file in manifest.files()}
    assert {b"date", b"ld-linux-x86-64.so.2", b"libc.so.6"} <= names
    assert {name for name in names if not is_part(os.fsdecode(name))} - {b"date", b"libgcc_s.so.1"} == set()
    assert manifest.glibc_version >= (2, 17)
    parts = {entry.path for entry in manifest.entries if is_part(os.fsdecode(entry.path))}
    assert parts <= set(manifest.glibc)


def test_all_parts_of_glibc_go_along_since_the_nodes_programs_may_need_them(packed: Pack) -> None:
    names = {os.path.basename(path) for path in packed("date").manifest.glibc}
    if b"libc.so.6" not in names:
        pytest.skip("needs a date of glibc")
    assert {b"libm.so.6", b"libpthread.so.0", b"libdl.so.2", b"librt.so.1", b"libnss_files.so.2"} <= names


def test_a_bundle_alone_runs_its_program(
    packed: Pack, run_on_empty_node: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_on_empty_node(packed("date"), "-u", "-d", "@0", "+%Y")
    assert (done.returncode, done.stdout) == (0, "1970\n")


def test_a_name_is_looked_up_as_a_shell_does_it(program: Path, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "prog").write_text("not executable")
    path = {"PATH": f"{tmp_path}/nowhere:{tmp_path}/first:"}
    assert find_program("prog", str(tmp_path), path) == str(program)
    assert find_program("./prog", str(tmp_path), {}) == f"{tmp_path}/./prog"
    with pytest.raises(ProgramNotFound, match="'nothing': no such program in PATH"):
        find_program("nothing", str(tmp_path), path)
    with pytest.raises(ProgramNotFound):
        find_program("", str(tmp_path), path)
    for name in ("a\n\x1b[31mb", "./a\n\x1b[31mb"):  # it split the message in two lines
        with pytest.raises(ProgramNotFound, match=r"a\\n\\x1b\[31mb'?: no such program"):
            find_program(name, str(tmp_path), {"PATH": "/bin\n"})
    with pytest.raises(ProgramNotExecutable, match=r"first/prog: is not executable"):
        find_program("prog", "/", {"PATH": f"{tmp_path}/first"})
    with pytest.raises(ProgramNotExecutable, match="is a directory"):
        find_program("/usr", "/", path)


def test_every_link_on_the_way_is_kept_and_relative(packed: Pack, program: Path, tmp_path: Path) -> None:
    (tmp_path / "dir").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a").symlink_to(f"{tmp_path}/dir/b")
    (tmp_path / "b").symlink_to("prog")
    links = {entry.path: entry.target for entry in packed("./a").manifest.entries if isinstance(entry, Symlink)}
    ups = b"../" * str(tmp_path).count("/")
    here = os.fsencode(tmp_path)
    assert links[here + b"/a"] == ups + here[1:] + b"/dir/b"
    assert links[here + b"/dir"] == ups + here[1:]
    assert links[here + b"/b"] == b"prog"


def test_links_in_a_circle_are_an_error(packed: Pack, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BundleError, match="a loop"):
        packed("./a")


def test_a_set_user_id_program_is_refused_for_a_user(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.chmod(0o4755)
    request = PackRequest(program=str(program), cwd=str(tmp_path), environ={}, cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BundleError, match="set-user-id"):
        pack(request)


def test_a_set_user_id_program_of_root_is_packed_without_the_bit(packed: Pack, program: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, because only root may pack a set-id program")
    program.chmod(0o4755)
    modes = {file.path: file.mode for file in packed(program).manifest.files()}
    assert modes[os.fsencode(program)] == 0o755


def test_extra_files_trees_and_bare_directories_go_along(packed: Pack, program: Path, tmp_path: Path) -> None:
    for name in ("tree/sub/file", "bare/file", "outside"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "tree" / "link").symlink_to("../outside")
    (tmp_path / "tree" / "broken").symlink_to("nowhere")
    bundle = packed(program, extra=("tree", "bare/."))
    found = {os.path.relpath(path, tmp_path) for path in paths(bundle) if path.startswith(f"{tmp_path}/")}
    assert found == {"prog", "tree", "tree/sub", "tree/sub/file", "tree/link", "tree/broken", "outside", "bare"}


def test_a_period_alone_is_the_tree_of_the_working_directory(
    request_for: Callable[..., PackRequest], program: Path
) -> None:
    """`-f .` sent an empty directory, and `-f ./` all that is in it."""
    assert str(program) in paths(pack(request_for("/bin/true", ".")))
    assert str(program) not in paths(pack(request_for("/bin/true", "./.")))


def test_an_extra_program_is_packed_with_its_own_libraries(packed: Pack, program: Path) -> None:
    assert any(
        "libcrypto" in path for path in paths(packed(program, extra=("/usr/bin/openssl",)))
    ) or not os.path.exists("/usr/bin/openssl")


def test_an_extra_file_that_is_missing_or_not_a_file_is_named(packed: Pack, program: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"-f /.*/gone: no such file"):
        packed(program, extra=("gone",))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    with pytest.raises(BundleError, match="socket: only files, directories and links"):
        packed(program, extra=("socket",))


def test_a_fifo_or_socket_in_a_directory_keeps_nothing_else_from_being_sent(
    packed: Pack, program: Path, tmp_path: Path
) -> None:
    """One of them, as editors and agents leave, and `-f .` refused the whole tree."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").touch()
    os.mkfifo(tmp_path / "d" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "d" / "socket"))
    sent = paths(packed(program, extra=("d",)))
    assert [path for path in sorted(sent) if path.startswith(f"{tmp_path}/d/")] == [f"{tmp_path}/d/file"]


def test_directories_keep_their_modes_and_come_before_what_is_in_them(
    packed: Pack, program: Path, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir(mode=0o710)
    entries = packed(program, extra=("d",)).manifest.entries
    directories = {entry.path: entry.mode for entry in entries if isinstance(entry, Directory)}
    assert directories[os.fsencode(tmp_path / "d")] == stat.S_IMODE(os.stat(tmp_path / "d").st_mode)


def test_chunks_are_read_again_and_a_changed_file_is_named(packed: Pack, program: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(2 * CHUNK_BYTES + 5))
    bundle = packed(program, extra=("data",))
    file = next(file for file in bundle.manifest.files() if file.path == os.fsencode(data))
    digests = [digest for digest, _, _ in file.chunks()]
    assert b"".join(read_chunk(bundle, digest) for digest in digests) == data.read_bytes()
    os.truncate(data, CHUNK_BYTES + 1)
    assert len(read_chunk(bundle, digests[0])) == CHUNK_BYTES
    for digest in digests[1:]:
        with pytest.raises(BundleError, match="data: changed while it was being sent"):
            read_chunk(bundle, digest)
    data.unlink()
    with pytest.raises(BundleError, match="data: cannot be read any more"):
        read_chunk(bundle, digests[0])
    with pytest.raises(KeyError):
        read_chunk(bundle, Digest(bytes(32)))


def test_a_file_that_grows_while_it_is_packed_is_noticed(
    packed: Pack, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 10)

    def digest_and_append(data: bytes) -> Digest:
        with open(log, "ab") as file:
            file.write(b"more")
        return digest_of(data)

    monkeypatch.setattr("gproc.content.reading.digest_of", digest_and_append)
    with pytest.raises(BundleError, match="log: changed while it was being packed"):
        packed(program, extra=("log",))


@pytest.mark.usefixtures("settled")
class TestCache:
    def test_a_second_time_is_answered_from_the_cache(self, request_for: Callable[..., PackRequest]) -> None:
        cold, warm = pack(request_for("date")), pack(request_for("date"))
        assert (was_warm(cold), was_warm(warm)) == (False, True)
        assert (warm.encoded, warm.digest, warm.sources) == (cold.encoded, cold.digest, cold.sources)

    @pytest.mark.parametrize("what", ["content", "mode", "replaced", "same size and time"])
    def test_a_changed_program_is_packed_again(
        self, request_for: Callable[..., PackRequest], program: Path, tmp_path: Path, what: str
    ) -> None:
        before = pack(request_for(program))
        status = program.stat()
        match what:
            case "content":
                program.write_text("#!/bin/sh\necho three\n")
            case "mode":
                program.chmod(0o700)
            case "replaced":
                (tmp_path / "new").write_text("#!/bin/sh\necho two\n")
                (tmp_path / "new").chmod(0o755)
                os.rename(tmp_path / "new", program)
            case _:
                program.write_text("#!/bin/sh\necho two\n")
                os.utime(program, ns=(status.st_atime_ns, status.st_mtime_ns))
        after = pack(request_for(program))
        assert not was_warm(after)
        assert after.digest != before.digest

    def test_a_library_that_appears_earlier_in_the_path_is_noticed(
        self, request_for: Callable[..., PackRequest], make_elf: Callable[..., bytes], tmp_path: Path
    ) -> None:
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "libx.so").write_bytes(make_elf(soname="libx.so"))
        program = tmp_path / "elf"
        path = f"{tmp_path}/early:{tmp_path}/late"
        program.write_bytes(make_elf(["libx.so"], interpreter="/lib64/ld-linux-x86-64.so.2", runpath=path))
        program.chmod(0o755)
        if not os.path.exists("/lib64/ld-linux-x86-64.so.2"):
            pytest.skip("needs glibc's dynamic linker for x86-64")
        assert f"{tmp_path}/late/libx.so" in paths(pack(request_for(program)))
        assert was_warm(pack(request_for(program)))
        (tmp_path / "early").mkdir()
        (tmp_path / "early" / "libx.so").write_bytes(make_elf(soname="libx.so"))
        assert f"{tmp_path}/early/libx.so" in paths(pack(request_for(program)))

    def test_a_file_added_to_a_tree_is_noticed(
        self, request_for: Callable[..., PackRequest], program: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "tree").mkdir()
        pack(request_for(program, "tree"))
        (tmp_path / "tree" / "new").touch()
        assert f"{tmp_path}/tree/new" in paths(pack(request_for(program, "tree")))

    def test_only_variables_that_packing_read_count(self, request_for: Callable[..., PackRequest]) -> None:
        pack(request_for("date", LANG="C", EDITOR="ed"))
        assert was_warm(pack(request_for("date", LANG="C", EDITOR="vi", PATH="/bin:/usr/bin:/opt"))) is False
        assert was_warm(pack(request_for("/usr/bin/date", LANG="C", EDITOR="vi")))
        assert not was_warm(pack(request_for("/usr/bin/date", LANG="C.UTF-8")))
        assert not was_warm(pack(request_for("/usr/bin/date", LD_LIBRARY_PATH="/opt")))

    def test_changes_beside_a_program_do_not_count(
        self, request_for: Callable[..., PackRequest], program: Path, tmp_path: Path
    ) -> None:
        pack(request_for(program))
        (tmp_path / "output").touch()
        assert was_warm(pack(request_for(program)))

    @pytest.mark.parametrize("damage", [b"", b"\x00", b"\xc1garbage", None])
    def test_a_damaged_record_is_ignored_and_replaced(
        self, request_for: Callable[..., PackRequest], tmp_path: Path, damage: bytes | None
    ) -> None:
        pack(request_for("date"))
        (record,) = (tmp_path / "cache").iterdir()
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
        record.write_bytes(record.read_bytes()[:-3] if damage is None else damage)
        assert not was_warm(pack(request_for("date")))
        assert was_warm(pack(request_for("date")))

    def test_the_oldest_records_are_dropped(
        self, request_for: Callable[..., PackRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gproc.bundle.cache.RECORDS_MAX", 3)
        for number in range(6):
            (tmp_path / f"p{number}").write_text(f"#!/bin/sh\necho {number}\n")
            (tmp_path / f"p{number}").chmod(0o755)
            pack(request_for(f"./p{number}"))
        assert len(list((tmp_path / "cache").iterdir())) == 3
        assert was_warm(pack(request_for("./p5")))

    def test_a_cache_that_cannot_be_written_costs_nothing_but_time(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        request = PackRequest(program="date", cwd="/", environ={"PATH": "/usr/bin"}, cache_dir=f"{tmp_path}/file/cache")
        assert pack(request).digest == pack(request).digest

    def test_packing_from_the_cache_imports_no_module_of_packing_from_scratch(
        self, request_for: Callable[..., PackRequest], tmp_path: Path
    ) -> None:
        request = request_for("date")
        pack(request)
        code = (
            "import sys; from gproc.packager import PackRequest, pack\n"
            f"cache = {request.cache_dir!r}\n"
            f"bundle = pack(PackRequest('date', {str(tmp_path)!r}, {{'PATH': '/usr/bin:/bin'}}, cache_dir=cache))\n"
            "assert not bundle.reasons, bundle.reasons\n"
            "bad = {'lief', 'pathlib', 'dataclasses', 'gproc.bundle.packing', 'gproc.bundle.linking'}\n"
            "bad &= set(sys.modules)\n"
            "assert not bad, bad"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_each_elf_file_of_a_program_is_read_once(packed: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(path: str, memo: Memo) -> elf.Elf | None:
        asked.append(path)
        return elf_read(path, memo)

    elf_read = elf.read
    monkeypatch.setattr(elf, "read", read)
    packed("date")
    assert len(asked) > 1
    assert sorted(asked) == sorted(set(asked))


def test_a_bundle_with_a_fresh_file_is_not_cached(request_for: Callable[..., PackRequest], program: Path) -> None:
    program.write_text("#!/bin/sh\necho two\n")
    os.utime(program, ns=(time.time_ns(), time.time_ns()))
    pack(request_for(program))
    assert not was_warm(pack(request_for(program)))


def test_a_file_that_cannot_be_read_as_a_file_is_named(packed: Pack) -> None:
    """`-f /proc/self/`: "None: cannot be packed: Invalid argument"."""
    with pytest.raises(BundleError, match=r"/proc/\d+/clear_refs: cannot be packed: Invalid argument"):
        packed("date", extra=("/proc/self/clear_refs",))


def test_a_file_that_may_not_be_read_is_named(packed: Pack, program: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("needs a user other than root, because root may read every file")
    (tmp_path / "secret").touch(mode=0)
    with pytest.raises(BundleError, match="secret: cannot be read"):
        packed(program, extra=("secret",))


def test_an_empty_file_is_a_file_without_chunks(packed: Pack, program: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    entries = {entry.path: entry for entry in packed(program, extra=("empty",)).manifest.entries}
    empty = entries[os.fsencode(tmp_path / "empty")]
    assert isinstance(empty, File)
    assert (empty.size_bytes, empty.digests) == (0, b"")
