"""Hypothesis without a stopwatch, and without a database in the directory it is run from; which tests are slow."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("gproc", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gproc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with a tree of processes takes seconds."""
    for item in items:
        if isinstance(item, pytest.Function) and "Cluster" in map(_given, item._fixtureinfo.name2fixturedefs.values()):
            item.add_marker(pytest.mark.slow)


def _given(definitions: Sequence[pytest.FixtureDef[Any]]) -> str:
    """The type of what a fixture gives, as it is written."""
    written = str(definitions[-1].func.__annotations__.get("return", ""))
    return written.removeprefix("Iterator[").removesuffix("]")
