"""The static helper as a bootstrap, the directory of a user on a node, and an end for its slave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc import native
from tests.launch.conftest import by_clang, sanitized
from tests.native.bootstrap import stop

__all__ = ["by_clang", "sanitized"]


@pytest.fixture(params=["native", *(pytest.param(way, marks=pytest.mark.stress) for way in ("by_clang", "sanitized"))])
def helper(request: pytest.FixtureRequest) -> str:
    return os.fsdecode(native.HELPER) if request.param == "native" else str(request.getfixturevalue(request.param))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "own"
    directory.mkdir(0o700)
    return directory


@pytest.fixture
def stopped(helper: str, place: Path) -> Iterator[None]:
    """No slave of a test outlives it."""
    yield
    stop(helper, place)
