"""What a wheel has besides the program: the helper, man pages, completion for each shell; and what is no release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gproc.cli.man import pages
from gproc.cli.shells import SHELLS
from scripts.wheel import HELPER, PAGE, Faulty, check

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gproc's wheel, built from this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        pytest.skip("this Python has no pip: no wheel can be built")
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "wheel.py", place], capture_output=True, text=True
    )
    if "No matching distribution" in done.stderr:
        pytest.skip(f"pip finds no packages, so there is no index to reach: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (found,) = place.glob("gproc-*.whl")
    return found


@pytest.mark.slow
@pytest.mark.stress
def test_the_wheel_has_the_man_pages_and_the_completion_of_each_shell(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shared = {
            name.partition(".data/data/share/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".data/data/" in name
        }
    expected = {f"man/man1/{name}": text for name, text in pages()} | {shell.shared: shell.script for shell in SHELLS}
    assert shared == expected


@pytest.mark.slow
def test_the_wheel_has_the_script_that_copies_to_nodes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (script,) = [name for name in archive.namelist() if name.endswith(".data/scripts/gproc-copytonodes")]
        assert archive.read(script) == (CHECKOUT / "scripts" / "copytonodes.sh").read_bytes()
        assert archive.getinfo(script).external_attr >> 16 & 0o111 == 0o111, "nobody could execute it"


@pytest.mark.slow
def test_installed_gproc_has_its_pages_where_man_looks(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed",
         "--prefix", str(tmp_path), str(wheel)],
        check=True,
    )  # fmt: skip
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    # manpath(1): for a directory bin in PATH, man looks in the share/man beside it.
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(tmp_path)}
    for name in ("gproc", "gproc-e"):
        done = subprocess.run(["man", "-w", name], env=env, capture_output=True, text=True)
        assert done.stdout == f"{tmp_path}/share/man/man1/{name}.1\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("missing", [HELPER, f"gproc-0.1.0{PAGE}"])
def test_a_wheel_without_one_of_its_parts_is_no_release(wheel: Path, tmp_path: Path, missing: str) -> None:
    """`make wheels` left out the man pages, and `make wheel` and `make deb` the helper, with status 0 and no word."""
    check(wheel)
    lacking = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(lacking, "w") as archive:
        for name in whole.namelist():
            if name != missing:
                archive.writestr(name, b"")
    with pytest.raises(Faulty, match="so it is no release: "):
        check(lacking)


@pytest.mark.slow
def test_a_release_without_a_working_compiler_fails_and_says_what_the_compiler_said(
    wheel: Path, tmp_path: Path
) -> None:
    """All nodes with that wheel would have started their jobs by Python."""
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "wheel.py", tmp_path],
        capture_output=True, text=True, env={**os.environ, "CC": "cc -include no-such-header.h"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "gproc's static helper is not in gproc-" in done.stderr
    assert "(of $CC) does not compile it: " in done.stderr and "no-such-header.h" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_older_wheel_of_the_same_version_does_not_stay_beside_the_new_one(wheel: Path, tmp_path: Path) -> None:
    """pip takes the one without a helper on a machine that the other one is not for."""
    (tmp_path / wheel.name.replace(wheel.name.split("-")[-1], "any.whl")).touch()
    (tmp_path / "gproc-0.0.9-py3-none-any.whl").touch()
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "wheel.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "-any.whl, an older wheel of the same version" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {wheel.name, "gproc-0.0.9-py3-none-any.whl"}


def test_a_build_leaves_nothing_that_git_would_add() -> None:
    if not (CHECKOUT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout")
    left = [f"{HELPER}.why", HELPER, "dist/x.whl"]
    done = subprocess.run(["git", "-C", str(CHECKOUT), "check-ignore", *left], capture_output=True, text=True)
    assert done.stdout.splitlines() == left
