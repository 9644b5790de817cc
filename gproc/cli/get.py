"""`gproc get NODES:SRC DIR`: copies files and directories from nodes, each node's into a directory of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gproc.cli.foreground import Foreground, submitted
from gproc.cli.naming import meant_by
from gproc.cli.options import GetOptions
from gproc.cli.progress import RunLine, on_terminal
from gproc.cli.trace import Trace
from gproc.client.copying import Remote, copy_request, is_remote, note_torn
from gproc.client.driver import PollDriver
from gproc.client.receiving import Collected
from gproc.errors import UsageError
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Place
from gproc.shown import bytes_text


class ReceivedLine(RunLine):
    """How much has come; and of several nodes, how many are done, and which are not if they are few."""

    def __init__(self, received: Callable[[], int]) -> None:
        """received: tells how many bytes have come."""
        super().__init__()
        self._count = received

    def run(self, places: Sequence[Place], at_once: int | None, naming: Naming = PLACES) -> None:
        super().run(places, at_once, naming)
        self.run_s = time.monotonic()

    def text(self) -> str:
        assert self.run_s is not None
        size = self._count()
        came = f"received {bytes_text(size)}, {bytes_text(size / (time.monotonic() - self.run_s))}/s"
        return "; ".join(filter(None, (came, super().text())))


def run(options: GetOptions) -> int:
    if is_remote(options.directory) and not is_remote(options.source):
        command = f"gproc cp {options.source} {options.directory}"
        raise UsageError(f"get copies files from nodes; to copy {options.source} to nodes: {command}")
    remote = Remote.parse(options.source)
    meant = meant_by(options.socket, remote.nodes, options.exclude)
    remote = remote._replace(nodes=meant.nodes)
    driver = PollDriver(options.socket)
    try:
        collected = Collected(options.directory, remote.path, meant.naming, tells=True)
        told = collected.have is not None
        request = copy_request(remote, "collect", exclude=meant.exclude, timeout_s=options.timeout_s, stdin=told)
        progress = on_terminal(lambda: ReceivedLine(lambda: collected.received_bytes))
        trace = Trace(options.debug)
        job = submitted(driver, request, None, trace, None, meant.naming)
        foreground = Foreground(driver, job, collected, progress, trace, collected.have)
        foreground.run()
    finally:
        driver.close()
    note_torn(collected, foreground.job.outcomes)
    return foreground.conclude(*collected.complaints.told(foreground.job.outcomes, foreground.job.missing))
