"""What `pip install .` installs besides the program: man pages, and completion for each shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gproc.cli.man import pages
from gproc.cli.shells import SHELLS

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gproc's wheel, built from this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        pytest.skip("this Python has no pip: no wheel can be built")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(place), str(CHECKOUT)],
        capture_output=True, text=True,
    )  # fmt: skip
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
