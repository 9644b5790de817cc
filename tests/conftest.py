"""Hypothesis without a stopwatch, and without a database in the directory it is run from; which tests are slow."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("gproc", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gproc")

TREES = {"cluster", "node", "tree"}
"""Fixtures that start a tree of processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with a tree of processes takes seconds."""
    for item in items:
        if isinstance(item, pytest.Function) and TREES & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)
