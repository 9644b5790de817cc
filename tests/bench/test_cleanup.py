"""Nothing that a measurement made is left by a signal that comes during its removal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from bench.cleanup import STOPPING, temporary_directory, uninterrupted


@pytest.fixture(autouse=True)
def exiting() -> Iterator[None]:
    """Exit at these signals, as `python -m bench` does."""
    before = [signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in STOPPING]
    yield
    for number, handler in zip(STOPPING, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_during_a_removal_stops_the_program_only_after_it(number: signal.Signals) -> None:
    removed = False
    with pytest.raises(SystemExit) as exit, uninterrupted():
        signal.raise_signal(number)
        removed = True
    assert removed
    assert exit.value.code == 128 + number


@pytest.mark.parametrize("number", STOPPING)
def test_removals_within_a_removal_wait_for_the_outermost(number: signal.Signals) -> None:
    removed = False
    with pytest.raises(SystemExit), uninterrupted():
        with uninterrupted():
            signal.raise_signal(number)
        removed = True
    assert removed


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_during_the_use_of_a_temporary_directory_removes_it(number: signal.Signals) -> None:
    with pytest.raises(SystemExit), temporary_directory() as place:
        os.mkdir(f"{place}/below")
        signal.raise_signal(number)
    assert not os.path.exists(place)
