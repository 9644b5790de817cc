"""What master and slave say on stderr while they run."""

from __future__ import annotations

import logging
import sys
from typing import Final

from gproc.shown import shown_text

VERBOSE: Final = 3
"""-debug level from which asyncio's own complaints are shown too."""


class _OneLine(logging.Formatter):
    """Nodes and callers have a say in what is logged: a record is one line, whatever they say."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = shown_text(record.message)
        return super().formatMessage(record)


def start_log(debug: int) -> None:
    """Refusals and losses always; joins, leaves and jobs too; details from -debug=1 on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log = logging.getLogger("gproc")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug > 0 else logging.INFO)
    log.propagate = False
    wider = logging.getLogger("asyncio")
    wider.addHandler(handler)
    wider.setLevel(logging.DEBUG if debug >= VERBOSE else logging.ERROR)
    wider.propagate = False
