"""A runtime is complete, small, the same each time, and needs nothing of the machine on which it runs."""

from __future__ import annotations

import gzip
import io
import json
import marshal
import os
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc import native
from gproc.cli.main import main
from gproc.errors import BundleError
from gproc.interpreter import LIBRARIES, LOADER, PYTHON
from gproc.runtime.archive import Content, archive_of
from gproc.runtime.compiling import compiled_modules
from gproc.runtime.making import Runtime, runtime_of_this_machine
from gproc.runtime.slim import slim

ARCHIVE_BYTES_MAX = 10 * 1000 * 1000
NAME_BYTES_MAX = 100

needs_helper = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    if native.why_missing():
        pytest.skip("needs the static helper")
    cache = tmp_path_factory.mktemp("cache")
    return runtime_of_this_machine({"XDG_CACHE_HOME": str(cache)})


@pytest.fixture(scope="module")
def unpacked(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unpacked") / "r"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(runtime.archive))) as archive:
        archive.extractall(root, filter="data")
    return root


def members(archive: bytes) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as opened:
        yield from opened


def test_it_is_small(runtime: Runtime) -> None:
    assert len(runtime.archive) <= ARCHIVE_BYTES_MAX


def test_it_holds_directories_and_plain_files_with_short_names_alone(runtime: Runtime) -> None:
    for member in members(runtime.archive):
        assert member.isdir() or member.isreg()
        assert len(member.name.encode()) <= NAME_BYTES_MAX
        assert ".." not in member.name.split("/")


def test_the_same_files_give_the_same_archive() -> None:
    files = {"lib/a": Content(b"1"), "bin/b": Content(b"2", executable=True)}
    assert archive_of(files) == archive_of(dict(reversed(files.items())))
    assert [member.name for member in members(archive_of(files))] == ["bin", "bin/b", "lib", "lib/a"]


@needs_helper
@pytest.mark.stress
def test_a_file_that_changes_makes_another_runtime(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    made: list[str] = []
    first = runtime_of_this_machine(environ, making=lambda: made.append("once"))
    assert runtime_of_this_machine(environ, making=lambda: made.append("again")) == first
    assert made == ["once"]
    kept = next(path for path in tmp_path.rglob("runtime") if path.is_file())
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1  # it was sent so, and no node could unpack it
    kept.write_bytes(content)
    assert runtime_of_this_machine(environ) == first
    kept.chmod(0o666)  # anybody could have written it
    assert runtime_of_this_machine(environ).digest == first.digest
    assert kept.stat().st_mode & 0o777 == 0o600


def test_every_module_of_it_can_be_imported_where_nothing_else_is(unpacked: Path) -> None:
    """In a root that holds the runtime alone, and by no path outside it."""
    if os.getuid() != 0:
        pytest.skip("needs root, for chroot")
    home = unpacked / f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    names = sorted(
        ".".join(path.relative_to(home).with_suffix("").parts).removesuffix(".__init__")
        for path in (home / "gproc").rglob("*.pyc")
        if path.name != "__main__.pyc"
    )
    script = (
        "import importlib, sys\n"
        "assert all(path.startswith('/r/') for path in sys.path), sys.path\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print({len(names)})"
    )
    words = [f"/r/{LOADER}", "--library-path", f"/r/{LIBRARIES}", f"/r/{PYTHON}", "-I", "-S", "-c", script]
    done = subprocess.run(["/usr/sbin/chroot", unpacked.parent, *words], env={}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(names))), done.stderr


@needs_helper
@pytest.mark.stress
def test_it_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "runtime.tar.gz"
    assert main(["runtime", "--tar", str(written)]) == 0
    assert main(["runtime"]) == 0
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert int(lines["archive bytes"]) == written.stat().st_size
    assert lines["machine"] == os.uname().machine


@needs_helper
def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtime", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["archive_bytes"] <= ARCHIVE_BYTES_MAX
    assert len(report["digest"]) == 64


def test_slim_takes_off_the_section_table_and_what_lies_behind_the_last_segment() -> None:
    program = Path(sys.executable).resolve().read_bytes()
    less = slim(program)
    assert program.startswith(less[:40])
    assert struct.unpack_from("<Q", less, 40) == (0,)
    assert slim(less) == less


@pytest.mark.parametrize("broken", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(58), b"\x7fELF\x02\x01" + b"\xff" * 90])
def test_slim_leaves_a_broken_file_alone(broken: bytes) -> None:
    assert slim(broken) == broken


def test_modules_are_compiled_without_what_a_node_never_shows(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text('"""Words."""\n\n\ndef f() -> int:\n    assert f\n    return 1 + g(2)\n')
    code = marshal.loads(compiled_modules({"lib/m": str(source)})["lib/m"][16:])
    inner = next(each for each in code.co_consts if isinstance(each, type(code)))
    assert code.co_filename == "lib/m.py"
    assert "Words." not in code.co_consts
    assert {(line, column) for line, _, column, _ in inner.co_positions()} <= {(4, None), (6, None)}


def test_a_module_that_cannot_be_compiled_is_named(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("def")
    with pytest.raises(BundleError, match=r"m\.py: cannot be compiled"):
        compiled_modules({"m": str(source)})
