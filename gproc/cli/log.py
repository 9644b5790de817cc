"""What master and slave say on stderr while they run."""

from __future__ import annotations

import logging
import sys
from typing import Final

VERBOSE: Final = 3
"""-debug level from which asyncio's own complaints are shown too."""


def start_log(debug: int) -> None:
    """Refusals and losses always; joins, leaves and jobs too; details from -debug=1 on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("gproc")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug > 0 else logging.INFO)
    log.propagate = False
    wider = logging.getLogger("asyncio")
    wider.addHandler(handler)
    wider.setLevel(logging.DEBUG if debug >= VERBOSE else logging.ERROR)
    wider.propagate = False
