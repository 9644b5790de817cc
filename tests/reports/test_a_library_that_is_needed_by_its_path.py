"""A library that was built without a soname is needed by a name with a slash, and the loader takes that as a path."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

LIBRARY = "int answer(void) { return 7; }\n"
PROGRAM = "int answer(void);\nint main(void) { return answer(); }\n"


@pytest.fixture
def build(tree: Cluster) -> Path:
    """A directory with lib/liba.so, which has no soname."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    place = tree.work / "build"
    shutil.rmtree(place, ignore_errors=True)
    (place / "lib").mkdir(parents=True)
    compile(place, LIBRARY, "-shared", "-fPIC", "-o", "lib/liba.so")
    return place


def compile(place: Path, source: str, *words: str) -> None:
    subprocess.run(["cc", "-x", "c", "-", "-x", "none", *words], input=source.encode(), cwd=place, check=True)


def needed(program: Path) -> str:
    return subprocess.run(["readelf", "-d", str(program)], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("how", ["relative", "absolute"])
def test_it_goes_along_and_the_program_runs(tree: Cluster, build: Path, how: str) -> None:
    library = "lib/liba.so" if how == "relative" else str(build / "lib/liba.so")
    compile(build, PROGRAM, library, "-o", "program")
    assert f"[{library}]" in needed(build / "program")
    done = tree.exec("1", "./program", cwd=build)
    assert (done.returncode, done.stderr) == (7, b"gproc: 1: exit status 7\n")


def test_a_relative_one_is_sought_from_the_working_directory_as_the_loader_does(tree: Cluster, build: Path) -> None:
    compile(build, PROGRAM, "lib/liba.so", "-o", "program")
    (build / "elsewhere").mkdir()
    at_home = subprocess.run(["../program"], cwd=build / "elsewhere", capture_output=True)
    assert at_home.returncode == 127
    done = tree.exec("1", "../program", cwd=build / "elsewhere")
    assert done.returncode in (125, 127)
    assert b"lib/liba.so" in done.stderr


def test_a_library_may_need_another_one_by_its_path(tree: Cluster, build: Path) -> None:
    through = "int answer(void);\nint ask(void) { return answer(); }\n"
    compile(build, through, "-shared", "-fPIC", "lib/liba.so", "-o", "lib/libb.so")
    compile(build, "int ask(void);\nint main(void) { return ask(); }\n", "lib/libb.so", "lib/liba.so", "-o", "program")
    assert tree.exec("1", "./program", cwd=build).returncode == 7


def test_a_missing_one_is_named(tree: Cluster, build: Path) -> None:
    compile(build, PROGRAM, "lib/liba.so", "-o", "program")
    (build / "lib/liba.so").unlink()
    done = tree.exec("1", "./program", cwd=build)
    assert done.returncode in (125, 127)
    assert b"lib/liba.so" in done.stderr
