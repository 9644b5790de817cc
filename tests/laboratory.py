"""Hosts with their own network, for tests; if this machine can have none, the test is skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.lab import Lab, NoLab


@contextmanager
def laboratory(*arguments: Any) -> Iterator[Lab]:
    """arguments: as for `Lab`."""
    try:
        with Lab(*arguments) as lab:
            yield lab
    except NoLab as reason:
        pytest.skip(str(reason))
