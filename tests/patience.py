"""How long a test waits for what must come: a busy machine may need much of it, and nothing is asserted of time."""

from __future__ import annotations

from typing import Final

PATIENCE_S: Final = 50.0
"""Less than a lease (`gproc.trust.lease`), so that no test passes because a node gave up."""
