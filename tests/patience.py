"""How long a test waits for what must come: a busy machine may need much of it, and nothing is asserted of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 50.0
"""Less than a lease (`gproc.trust.lease`), so that no test passes because a node gave up."""


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds that no event tells.  Fails with `what` if it never does."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)
