"""The log of master and slave, on stderr."""

from __future__ import annotations

import logging
import time
from typing import Final

from gproc.logstream import LogStream
from gproc.shown import shown_text

VERBOSE: Final = 3
"""-debug level from which asyncio's own warnings are shown too."""


class _OneLine(logging.Formatter):
    """Parts of a record come from nodes and callers.  A record is one line in any case."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = shown_text(record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """A line of JSON for each record, in the manner of `gproc.policy.audit`; all but printable ASCII is escaped."""

    def __init__(self, daemon: str) -> None:
        super().__init__()
        self._daemon = daemon

    def format(self, record: logging.LogRecord) -> str:
        import json  # here, because most daemons write text

        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        facts = {"time": when, "daemon": self._daemon, "level": record.levelname.lower(), "log": record.getMessage()}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts)


class HeldLog(logging.Filter):
    """Holds what is logged until `dial`, and writes it at `release`: the last line that a slave says while it dials is
    taken for why it cannot join."""

    def __init__(self) -> None:
        """The log that `start_log` has begun."""
        super().__init__()
        self._held: list[logging.LogRecord] = []
        self._holds = True
        self._handlers = logging.getLogger("gproc").handlers
        for handler in self._handlers:
            handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if self._holds:
            self._held.append(record)
        return not self._holds

    def dial(self) -> None:
        self._holds = False

    def release(self) -> None:
        held, self._held, self._holds = self._held, [], False
        for record in held:
            for handler in self._handlers:
                handler.handle(record)


def start_log(debug: int, json_of: str = "") -> None:
    """Begin to log: always refusals, losses, joins, leaves and jobs; from -debug=1 on also details.

    json_of: the daemon whose log is lines of JSON, "master" or "slave"; "": it is text.
    """
    handler = logging.StreamHandler(LogStream(2))
    handler.setFormatter(_Json(json_of) if json_of else _OneLine("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log = logging.getLogger("gproc")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug > 0 else logging.INFO)
    log.propagate = False
    wider = logging.getLogger("asyncio")
    wider.addHandler(handler)
    wider.setLevel(logging.DEBUG if debug >= VERBOSE else logging.ERROR)
    wider.propagate = False
