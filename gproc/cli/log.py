"""The log of master and slave, on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Final

from gproc.shown import shown_text

VERBOSE: Final = 3
"""-debug level from which asyncio's own warnings are shown too."""


class _OneLine(logging.Formatter):
    """Parts of a record come from nodes and callers.  A record is one line in any case."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = shown_text(record.message)
        return super().formatMessage(record)


def start_log(debug: int) -> None:
    """Begin to log: always refusals, losses, joins, leaves and jobs; from -debug=1 on also details."""
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
