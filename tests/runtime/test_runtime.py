"""A runtime is complete, small, the same each time, and needs nothing of the machine on which it runs."""

from __future__ import annotations

import gzip
import io
import json
import marshal
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.machinery import FrozenImporter, ModuleSpec
from pathlib import Path

import pytest

from gproc import native
from gproc.cli.main import main
from gproc.errors import BundleError
from gproc.interpreter import LIBRARIES, LOADER, PYTHON
from gproc.runtime import making
from gproc.runtime.archive import Content, archive_of
from gproc.runtime.compiling import compiled_modules
from gproc.runtime.importing import FILE, LENGTH_BYTES
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


def home_of(unpacked: Path) -> Path:
    return unpacked / f"lib/python{sys.version_info.major}.{sys.version_info.minor}"


def modules_of(unpacked: Path) -> list[str]:
    content = (home_of(unpacked) / FILE).read_bytes()
    codes, _ = marshal.loads(content[LENGTH_BYTES:])
    return sorted(codes)


def python_of(unpacked: Path, *words: str) -> list[str]:
    linked = [str(unpacked / LOADER), "--library-path", str(unpacked / LIBRARIES), str(unpacked / PYTHON)]
    return [*linked, "-I", "-S", "-X", "utf8", *words]


def said_by(unpacked: Path, script: str) -> str:
    words = python_of(unpacked, "-c", script)
    done = subprocess.run(words, env={}, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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
    kept.chmod(0o666)  # any user could have written it
    assert runtime_of_this_machine(environ).digest == first.digest
    assert kept.stat().st_mode & 0o777 == 0o600


def test_every_module_of_it_can_be_imported_where_nothing_else_is(unpacked: Path) -> None:
    """In a root that holds the runtime alone, and by no path outside it."""
    if os.getuid() != 0:
        pytest.skip("needs root, for chroot")
    names = [name for name in modules_of(unpacked) if name.partition(".")[0] == "gproc" and name != "gproc.__main__"]
    assert len(names) > 200
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


def test_its_modules_have_few_files(runtime: Runtime, unpacked: Path) -> None:
    """A node makes, writes and removes as many as there are; there were 478."""
    assert runtime.files < 100
    modules = modules_of(unpacked)
    assert {name.rpartition(".")[0] for name in modules} - {""} <= set(modules), "a directory is no package here"


def test_its_modules_say_where_they_would_be_as_files(unpacked: Path) -> None:
    script = """if True:
        import importlib.util, json, os, sys
        names = ["gproc", "gproc.policy.asking", "msgspec", "msgspec._core", "ssl", "_ssl", "encodings"]
        found = {name: importlib.util.find_spec(name) for name in names}
        for name in names: __import__(name)
        files = {name: sys.modules[name].__file__ for name in names}
        assert files == {name: spec.origin for name, spec in found.items()}
        assert sys.modules["gproc"].__path__ == [os.path.dirname(files["gproc"])]
        assert os.__spec__.origin == "frozen", "what the interpreter has in itself is taken from there"
        print(json.dumps(files))
    """
    files = {name: Path(file) for name, file in json.loads(said_by(unpacked, script)).items()}
    home = home_of(unpacked)
    assert files.pop("msgspec._core").parent == home / "msgspec"
    assert files.pop("_ssl").parent == home / "lib-dynload"
    assert files == {
        "gproc": home / "gproc/__init__.pyc", "gproc.policy.asking": home / "gproc/policy/asking.pyc",
        "msgspec": home / "msgspec/__init__.pyc", "ssl": home / "ssl.pyc", "encodings": home / "encodings/__init__.pyc",
    }  # fmt: skip


def test_what_it_lacks_is_not_found(unpacked: Path) -> None:
    script = """if True:
        for name in ("typing_extensions", "gproc.nothing", "msgspec.nothing", "tkinter"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error.name)
    """
    assert said_by(unpacked, script).split() == ["typing_extensions", "gproc.nothing", "msgspec.nothing", "tkinter"]


def test_no_file_of_it_stays_open(unpacked: Path) -> None:
    """A slave closes descriptors of others, and hands its own on: one of ours could come to be another file."""
    script = """if True:
        import os
        import asyncio, gproc.slave
        for name in os.listdir("/proc/self/fd"):
            if os.path.exists(f"/proc/self/fd/{name}"):  # all but that of listdir
                print(os.readlink(f"/proc/self/fd/{name}"))
    """
    assert str(unpacked) not in said_by(unpacked, script)


def test_a_traceback_of_it_names_module_line_and_function(unpacked: Path) -> None:
    script = "from gproc.nodespec import NodeSpec; NodeSpec.parse('9-3')"
    done = subprocess.run(python_of(unpacked, "-c", script), env={}, cwd="/", capture_output=True, text=True)
    assert re.search(r'File "lib/python3\.\d+/gproc/nodespec\.py", line \d+, in \w+', done.stderr), done.stderr


def test_the_process_that_asks_pam_is_run_by_its_path(unpacked: Path) -> None:
    """The path is the one that asking.py finds beside itself."""
    script = "from gproc.policy import asking; print(asking._program())"
    program = said_by(unpacked, script)
    done = subprocess.run(python_of(unpacked, program), env={}, cwd="/", capture_output=True, text=True)
    assert "IndexError" in done.stderr, "it wants three arguments"


def test_a_file_of_modules_that_is_cut_short_is_named(unpacked: Path, tmp_path: Path) -> None:
    shutil.copytree(unpacked, tmp_path / "r")
    file = home_of(tmp_path / "r") / FILE
    os.truncate(file, 2 << 20)
    words = python_of(tmp_path / "r", "-c", "import typing, gproc.slave")
    done = subprocess.run(words, env={}, cwd="/", capture_output=True, text=True)
    assert f"ImportError: {file} is too short" in done.stderr


def test_a_python_that_has_its_first_module_in_itself_gets_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "m.py"
    source.write_text("x = 1")
    places = ("encodings/__init__", "gproc/policy/account", "gproc/m", "os")
    texts = dict.fromkeys(places, str(source))
    assert set(making._code("lib/p", texts, ())) == {
        "lib/p/encodings/__init__.pyc", "lib/p/gproc/policy/account.pyc", "lib/p/os.pyc", "lib/p/modules",
    }  # fmt: skip
    monkeypatch.setattr(FrozenImporter, "find_spec", lambda name: ModuleSpec(name, None))
    assert set(making._code("lib/p", texts, ())) == {f"lib/p/{place}.pyc" for place in places}


def test_modules_are_compiled_without_what_a_node_never_shows(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text('"""Words."""\n\n\ndef f() -> int:\n    assert f\n    return 1 + g(2)\n')
    code = marshal.loads(compiled_modules({"lib/m": str(source)})["lib/m"])
    inner = next(each for each in code.co_consts if isinstance(each, type(code)))
    assert code.co_filename == "lib/m.py"
    assert "Words." not in code.co_consts
    assert {(line, column) for line, _, column, _ in inner.co_positions()} <= {(4, None), (6, None)}


def test_a_module_that_cannot_be_compiled_is_named(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("def")
    with pytest.raises(BundleError, match=r"m\.py: cannot be compiled"):
        compiled_modules({"m": str(source)})
