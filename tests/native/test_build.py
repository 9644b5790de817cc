"""The static helper as a file: what it is, that it is the same each time, and what tools say of its source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from gproc import native
from gproc.native import build as native_build
from gproc.native.build import HELPER, HERE, NotBuilt, NotCompiled, build, compile_by, compilers
from tests.native import fuzz

SIZE_BYTES_MAX = 200_000

SOURCES = sorted(str(path) for path in HERE.glob("*.c"))


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("built") / "helper"
    try:
        build(to, strict=True)
    except NotCompiled:
        raise
    except NotBuilt as error:
        pytest.skip(f"needs a C compiler: {error}")
    return to


def needs(command: str) -> str:
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"needs {command}")
    return path


def readelf(*words: str) -> str:
    return subprocess.run([needs("readelf"), *words], capture_output=True, text=True, check=True).stdout


def test_the_helper_that_all_other_tests_use_is_there_and_is_of_these_sources(helper: Path) -> None:
    """It once did not compile, and for a day everything was tested with jobs that Python starts, without a word."""
    assert HELPER.read_bytes() == helper.read_bytes()


@pytest.mark.parametrize("name", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_each_compiler_compiles_it_without_a_warning(tmp_path: Path, name: str) -> None:
    compile_by([needs(name)], tmp_path / "helper", strict=True)


@pytest.mark.stress
def test_two_builds_give_the_same_bytes(helper: Path, tmp_path: Path) -> None:
    """Wherever the sources lie and whatever the result is called."""
    elsewhere = tmp_path / "a copy of it"
    shutil.copytree(HERE, elsewhere, ignore=shutil.ignore_patterns("__pycache__"))
    again = tmp_path / "another name"
    words = [sys.executable, "-I", str(elsewhere / "build.py"), "--to", str(again)]
    subprocess.run(words, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1"})
    assert again.read_bytes() == helper.read_bytes()


def test_it_is_small_and_needs_nothing_to_be_loaded(helper: Path) -> None:
    assert helper.stat().st_size <= SIZE_BYTES_MAX
    headers = readelf("-lW", str(helper))
    assert "INTERP" not in headers
    assert "There are no relocations" in readelf("-rW", str(helper))
    assert "NEEDED" not in readelf("-dW", str(helper))


def test_no_page_of_it_is_writable_and_executable(helper: Path) -> None:
    headers = readelf("-lW", str(helper))
    assert "RWE" not in headers
    assert "GNU_STACK" in headers
    assert "GNU_RELRO" in headers
    assert "DYN" in headers  # the kernel loads it at a random address


@pytest.mark.parametrize("words", [[], ["bootstrap"], ["stop", "x"], ["init", "more"], ["gpi0"]])
def test_it_is_nothing_for_people(helper: Path, words: list[str]) -> None:
    done = subprocess.run([helper, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "which a slave starts" in done.stderr


def test_without_a_compiler_nothing_is_built_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    if list(compilers("x86_64")):
        pytest.skip("ziglang is installed, and is a compiler")
    assert native_build.main(["--to", str(tmp_path / "helper")]) == 1
    assert "there is no C compiler" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["helper.why"]
    monkeypatch.setattr(native, "HELPER", os.fsencode(tmp_path / "helper"))
    assert native.why_missing().startswith("it was not built: there is no C compiler (cc, gcc, clang)")


def test_a_compiler_with_options_or_another_word_before_it_is_taken_as_make_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip said nothing, nodes started all jobs by Python, and said that there was no C compiler."""
    monkeypatch.setenv("CC", f"env -u X {needs('gcc')} -DX='a b' -O2")
    build(tmp_path / "helper")
    assert os.access(tmp_path / "helper", os.X_OK)


def test_a_compiler_that_goes_by_its_own_name_is_called_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ccache: `gcc` in /usr/lib/ccache is a link to it, and `ccache` itself compiles nothing."""
    (tmp_path / "by-name").write_text(f'#!/bin/sh\n[ "${{0##*/}}" = gcc ] && exec {needs("gcc")} "$@"\nexit 1\n')
    (tmp_path / "by-name").chmod(0o755)
    (tmp_path / "gcc").symlink_to("by-name")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / "gcc") if name == "gcc" else None)
    build(tmp_path / "helper")


BROKEN = (
    ("false", "false (of $CC) does not compile it"),
    ("true", "true (of $CC) succeeds, and makes no program"),
    ("/etc/passwd", "/etc/passwd (of $CC) cannot be executed: Permission denied"),
    ("no-such-compiler -x", "no-such-compiler (of $CC) cannot be executed: No such file or directory"),
    ("gcc 'x", "$CC is \"gcc 'x\", which is no command: No closing quotation"),
    ("gcc -include no-such.h", "gcc -include no-such.h (of $CC) does not compile it: *error: no-such.h*"),
)


@pytest.mark.parametrize(("cc", "reason"), BROKEN)
def test_a_named_compiler_that_fails_is_told_and_no_other_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cc: str, reason: str
) -> None:
    """`gproc i` said "it was installed without a C compiler", so nobody looked for the compiler's error."""
    needs("gcc")
    helper = tmp_path / "helper"
    monkeypatch.setenv("CC", cc)
    assert native_build.main(["--to", str(helper)]) == 2
    assert not helper.exists()
    monkeypatch.setattr(native, "HELPER", os.fsencode(helper))
    assert fnmatch(native.why_missing(), f"it was not built: {reason}")


def test_a_helper_that_is_built_at_last_is_not_told_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("gcc")
    helper = tmp_path / "helper"
    monkeypatch.setattr(native, "HELPER", os.fsencode(helper))
    monkeypatch.setenv("CC", "false")
    assert native_build.main(["--to", str(helper)]) == 2
    assert native.why_missing()
    monkeypatch.delenv("CC")
    build(helper)
    assert native.why_missing() == ""
    assert list(tmp_path.iterdir()) == [helper]


def test_a_reason_that_a_compiler_wrote_is_one_line_of_bounded_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\nprintf 'error: \\033[2J%05000d\\n' 7 >&2; exit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    with pytest.raises(NotCompiled):
        build(tmp_path / "helper")
    monkeypatch.setattr(native, "HELPER", os.fsencode(tmp_path / "helper"))
    assert "error: \\x1b[2J00000" in native.why_missing()
    assert len(native.why_missing()) < 600


@pytest.mark.parametrize(("machine", "shown"), [("x86_64", "X86-64"), ("aarch64", "AArch64")])
def test_zig_builds_it_for_both_machines(tmp_path: Path, machine: str, shown: str) -> None:
    zig = list(compilers(machine))[-1:]
    if not zig or "ziglang" not in zig[0]:
        pytest.skip("needs the package ziglang: pip install '.[build]'")
    compile_by(zig[0], tmp_path / "helper", strict=True)
    header = readelf("-hW", str(tmp_path / "helper")).splitlines()
    assert [line for line in header if "Machine:" in line and line.endswith(shown)]


def test_a_build_that_fails_leaves_the_helper_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "helper"
    helper.write_text("the one before")
    monkeypatch.setenv("CC", needs("false"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotCompiled):
        build(helper)
    assert native_build.main(["--to", str(helper)]) == 2
    assert helper.read_text() == "the one before"
    assert {path.name for path in tmp_path.iterdir()} == {"helper", "helper.why"}


def test_cppcheck_finds_nothing() -> None:
    words = ["--enable=warning,portability,performance", "--std=c11", "--error-exitcode=1", "--quiet", "-D__x86_64__"]
    done = subprocess.run([needs("cppcheck"), *words, *SOURCES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.stress
def test_clangs_analyzer_finds_nothing() -> None:
    words = ["--analyze", "--analyzer-output", "text", "-std=c11", "-ffreestanding", "-Xclang", "-analyzer-werror"]
    done = subprocess.run([needs("clang"), *words, *SOURCES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_twenty_thousand_broken_plans_are_refused_and_break_nothing(tmp_path: Path) -> None:
    """More by hand: `make fuzz`."""
    needs("clang")
    assert fuzz.fuzz(20_000) == 0
