"""scripts/node-package.sh: the archive that a slave runs from."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "node-package.sh"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The archive of this Python, unpacked."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        pytest.skip("this Python has no pip: the archive cannot be made")
    done = subprocess.run(
        ["sh", SCRIPT, tmp_path / "gproc.tar"],
        env={**os.environ, "GPROC_PYTHON": sys.executable, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if "No matching distribution" in done.stderr:
        pytest.skip(f"pip finds no packages, so there is no index to reach: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "gproc.tar") as archive:
        archive.extractall(tmp_path / "node", filter="fully_trusted")
    return tmp_path / "node"


@pytest.mark.slow
def test_the_archive_runs_in_any_directory_with_its_own_libraries(unpacked: Path) -> None:
    # The base interpreter of the virtual environment has none of our dependencies.
    bare = f"{sys.base_prefix}/bin"
    if not os.path.exists(f"{bare}/{PYTHON}"):
        pytest.skip(f"there is no {PYTHON} in {bare}: no Python that stands for a node's")
    shown = subprocess.check_output([unpacked / "gproc", "--version"], env={"PATH": f"{bare}:/usr/bin:/bin"}, text=True)
    assert shown.startswith("gproc ")


@pytest.mark.slow
def test_the_archive_holds_only_what_a_slave_imports(unpacked: Path) -> None:
    brought = os.listdir(unpacked / "lib")
    assert {"gproc", "msgspec", "nacl", "blake3", "zstandard"} <= set(brought)
    assert {"cryptography", "lief", "typer", "rich", "bin"} & set(brought) == set()


@pytest.mark.parametrize("arguments", [(), ("a", "b")])
def test_wrong_arguments_get_the_usage_and_status_2(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["sh", SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage: sh scripts/node-package.sh FILE" in done.stderr
