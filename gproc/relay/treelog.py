"""Bounds the log's lines about nodes that come and go, for each host, because a host can come and go without end."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gproc.link.allowance import Allowance

log = logging.getLogger("gproc")

LINES_OF_HOST: Final = 20_000
"""At once: 5,000 slaves of one machine may all come, go and come back."""

LINE_S: Final = 1.0
"""Seconds until one more."""

HOSTS_MAX: Final = 20_000
"""Hosts whose lines are counted; for others the count begins anew.  Certificates are of hosts, so one host cannot have
many names."""


class TreeLog:
    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._allowed: OrderedDict[str, Allowance] = OrderedDict()
        self._told: set[str] = set()
        """The hosts of which the log has said that it leaves lines out."""

    def say(self, level: int, host: str, text: str, *words: object) -> None:
        """host: the name in the certificate of the node of which this speaks.  text, words: as of logging.Logger."""
        now_s = self._clock_s()
        allowed = self._allowed.setdefault(host, Allowance(LINES_OF_HOST, LINE_S, now_s))
        self._allowed.move_to_end(host)
        if len(self._allowed) > HOSTS_MAX:
            self._told.discard(self._allowed.popitem(last=False)[0])
        if not allowed.take_one(now_s):
            return
        log.log(level, text, *words)
        if not allowed.holds_one(now_s) and host not in self._told:
            self._told.add(host)
            log.warning("%s comes and goes too often: only one line each second is in this log from now on", host)
