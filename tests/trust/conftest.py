from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from gproc.trust import backup
from gproc.trust.authority import Authority, open_authority
from gproc.trust.home import gproc_home


@pytest.fixture
def home(tmp_path: Path) -> str:
    return gproc_home({"GPROC_HOME": str(tmp_path / "home")})


@pytest.fixture
def authority(home: str) -> Authority:
    return open_authority(home, create=True)


@pytest.fixture
def foreign_authority(tmp_path: Path) -> Authority:
    return open_authority(gproc_home({"GPROC_HOME": str(tmp_path / "foreign")}), create=True)


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user for a moment")


@pytest.fixture
def derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens a backup is the key that sealed it.  To derive it again takes most of a second, as it should."""
    monkeypatch.setattr(backup, "_key", functools.cache(backup._key))
