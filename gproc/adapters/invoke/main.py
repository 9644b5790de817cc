"""The console script `ng_invoke_server.GPROC`."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from gproc.adapters.invoke.pipes import ClientPipes, take_over
from gproc.adapters.invoke.server import InvokeServer
from gproc.descriptors import allow_all, open_standard_descriptors
from gproc.environment import undo_locale_coercion
from gproc.interpreter import prepare
from gproc.logstream import LogStream, open_log
from gproc.shown import shown_text

log: Final = logging.getLogger("gproc.invoke")


HINT: Final = (
    "Clients of Ninf-G start this program and talk to it by pipes (docs/invoke-server.md).  "
    "It answers requests of this terminal too: QUERY_FEATURES, EXIT.\n"
)


def main() -> int:
    """Serve the client at descriptors 0 to 2.  Returns the exit status."""
    open_standard_descriptors()
    prepare()
    undo_locale_coercion()
    if os.isatty(0):
        sys.stdout.write(HINT)
        sys.stdout.flush()
    log_to = _opened_log(log_file(sys.argv[1:]))
    pipes = take_over(log_to)
    _start_log()
    own_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allow_all()  # a job may have two files open here; its processes are given our own limit
    asyncio.run(_serve(pipes, {resource.RLIMIT_NOFILE: own_limit}))
    return 0


def log_file(words: Sequence[str]) -> str | None:
    """The file of `-l FILE`.  The manual wants all other words ignored."""
    found = None
    for option, value in itertools.pairwise(words):
        if option == "-l":
            found = value
    return found


async def _serve(pipes: ClientPipes, rlimits: Mapping[int, int]) -> None:
    log.info("serves process %d", os.getppid())
    server = InvokeServer(pipes, rlimits)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, server.end)
    await server.serve()


def _opened_log(file: str | None) -> int:
    """The descriptor of the log.  Without a log we serve all the same: our client could not be told what is wrong."""
    if file is not None:
        with suppress(OSError):
            opened = open_log(file)
            if not any(os.path.samestat(os.fstat(opened), os.fstat(pipe)) for pipe in (1, 2)):
                return opened
            os.close(opened)  # /dev/stderr is the notifies'
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


class _OneLine(logging.Formatter):
    """Parts of a record come from clients and nodes.  A record is one line in any case."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = shown_text(record.message)
        return super().formatMessage(record)


def _start_log() -> None:
    """Log to descriptor 2, which `take_over` has made the log's."""
    handler = logging.StreamHandler(LogStream(2))
    handler.setFormatter(_OneLine("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
