"""A module system sets PYTHONPATH for other programs, and a user has a json.py: gproc imported these as its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("json", "msgspec", "random", "asyncio", "shlex", "tomllib", "typing_extensions", "inspect")


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A directory of modules with the names of ours, none of which can be imported."""
    place = tmp_path / "others"
    place.mkdir()
    for name in NAMES:
        (place / f"{name}.py").write_text("raise RuntimeError('not for gproc')\n")
    return place


def run(*words: str, cwd: Path, python_path: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": python_path}
    return subprocess.run([sys.executable, *words], env=environ, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("--version",), ("bundle", "/bin/true"), ("help", "e"), ("i", "--socket=/none")])
def test_modules_of_pythonpath_come_after_our_own(others: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    path = os.pathsep.join((str(others), "", "relative"))
    done = run("-P", "-m", "gproc", *words, cwd=tmp_path, python_path=path)
    assert "not for gproc" not in done.stderr
    assert done.returncode == (125 if words[0] == "i" else 0), done.stderr


def test_modules_in_the_working_directory_come_after_our_own(others: Path) -> None:
    assert run("-m", "gproc", "bundle", "/bin/true", cwd=others).stderr == ""


def test_a_program_still_gets_the_callers_pythonpath(others: Path, tmp_path: Path) -> None:
    """It is the programs' after all."""
    (tmp_path / "x.py").write_text("import json\n")
    done = run("-P", "-m", "gproc", "bundle", sys.executable, "x.py", cwd=tmp_path, python_path=str(others))
    assert str(others / "json.py") in done.stdout, done.stderr
