"""scripts/debian-packages.sh asks apt only for missing packages, and never fails."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "debian-packages.sh"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with a dpkg-query that knows only gcc, and an apt-get that records its arguments."""
    shell = shutil.which("sh")
    assert shell is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shell)
    program(tmp_path, "dpkg-query", 'case "$4" in gcc) echo installed ;; zstd) echo config-files ;; *) exit 1 ;; esac')
    program(tmp_path, "apt-get", f'echo "$*" >>"{tmp_path}/asked"')
    program(tmp_path, "id", "echo 0")
    return tmp_path / "bin"


def program(tmp_path: Path, name: str, body: str) -> None:
    (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
    (tmp_path / "bin" / name).chmod(0o755)


def asked(tmp_path: Path) -> list[str]:
    record = tmp_path / "asked"
    return record.read_text().splitlines() if record.exists() else []


def ensure(programs: Path, *packages: str) -> str:
    """What the script prints to stderr.  It must succeed in any case."""
    done = subprocess.run(
        ["sh", SCRIPT, *packages], env={"PATH": str(programs)}, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_only_missing_packages_are_installed(programs: Path, tmp_path: Path) -> None:
    assert ensure(programs, "gcc", "zstd", "musl-tools") == ""
    assert asked(tmp_path) == ["install -qq -y --no-install-recommends zstd musl-tools"]


def test_apt_is_not_called_if_nothing_is_missing(programs: Path, tmp_path: Path) -> None:
    assert ensure(programs, "gcc") == ""
    assert asked(tmp_path) == []


def test_package_lists_are_fetched_if_the_present_ones_are_not_enough(programs: Path, tmp_path: Path) -> None:
    program(tmp_path, "apt-get", f'echo "$1" >>"{tmp_path}/asked"; [ "$1" = update ]')
    assert "could not be installed, some tests will skip: zstd" in ensure(programs, "zstd")
    assert asked(tmp_path) == ["install", "update", "install"]


def test_a_user_other_than_root_sees_what_is_missing(programs: Path, tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 1000")
    assert "not installed, some tests will skip: zstd" in ensure(programs, "gcc", "zstd")
    assert asked(tmp_path) == []


def test_a_machine_without_apt_is_left_alone(programs: Path) -> None:
    (programs / "apt-get").unlink()
    assert ensure(programs, "zstd") == ""
