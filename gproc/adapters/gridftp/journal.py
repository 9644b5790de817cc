"""The log of gproc-gridftp-master."""

from __future__ import annotations

import logging
from typing import Final

from gproc.logstream import LogStream, open_log

log: Final = logging.getLogger("gproc.gridftp")


def start_log(path: str | None) -> None:
    """path: a file, which the log is appended to, "-" for stderr, None for no log.  Raises: OSError."""
    log.propagate = False
    log.setLevel(logging.INFO)
    if path is None:
        log.addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler(LogStream(2 if path == "-" else open_log(path)))
    handler.setFormatter(logging.Formatter("%(asctime)s gproc-gridftp-master: %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
