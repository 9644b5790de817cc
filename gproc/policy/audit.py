"""A record of what was done: one line of JSON for each act.  No environment, no input and no output is in them.

All characters but printable ASCII are escaped, so a record is one line whatever a user or a node said.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Final

from gproc.request.spec import Request

log = logging.getLogger("gproc")

_STDERR: Final = 2
SYSLOG: Final = "/dev/log"
PRIORITY: Final = 86
"""authpriv.info: RFC 5424, 6.2.1."""

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A FIFO without a reader is an error, and does not stop the daemon."""

WORDS_MAX: Final = 100
CHARACTERS_MAX: Final = 4000
"""The limit of a command in a record.  If more is left out, `argv_complete` says so.  syslog takes 8 KiB at least."""


class AuditTrail:
    """Writes the records of one daemon."""

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon
        self._failing = False

    def write(self, to: str, **facts: object) -> None:
        """to: as the policy says it.  A failure is logged, once until it works again, and stops no job."""
        import json  # here, because most daemons write no records

        now = time.time()
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": when, "daemon": self._daemon, **facts})
        try:
            _write(to, line)
        except OSError as error:
            if not self._failing:
                log.error("cannot write records to %s: %s", to, error.strerror)
            self._failing = True
        else:
            self._failing = False


def command_of(request: Request) -> dict[str, object]:
    """What a request does, for a record."""
    words = [os.fsdecode(word[:CHARACTERS_MAX]) for word in request.argv[:WORDS_MAX]]
    while len(words) > 1 and sum(map(len, words)) > CHARACTERS_MAX:
        words.pop()
    complete = len(words) == len(request.argv) and all(len(word) <= CHARACTERS_MAX for word in request.argv)
    found: dict[str, object] = {"action": request.action, "argv": words, "cwd": os.fsdecode(request.cwd)}
    if not complete:
        found["argv_complete"] = False
    if request.bundle is not None:
        found["bundle"] = request.bundle.digest.hex()[:16]
    return found


def _write(to: str, line: str) -> None:
    """Raises: OSError.  Opened for each record, so that the file may be moved away at any time."""
    data = line.encode("ascii") + b"\n"
    if to == "stderr":
        os.write(_STDERR, data)  # not by sys.stderr, which loses what cannot be written: gproc.descriptors
    elif to == "syslog":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(b"<%d>gproc[%d]: %s" % (PRIORITY, os.getpid(), data), SYSLOG)
    else:
        handle = os.open(to, _APPEND, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
