"""`gproc get NODES:SRC DIR`: copies files and directories from nodes, each node's into a directory of its own."""

from __future__ import annotations

from gproc.cli.foreground import Foreground, submitted
from gproc.cli.naming import meant_by
from gproc.cli.options import GetOptions
from gproc.cli.progress import progress_for
from gproc.cli.trace import Trace
from gproc.client.copying import Remote, copy_request, is_remote, note_torn
from gproc.client.driver import PollDriver
from gproc.client.receiving import Collected
from gproc.errors import UsageError


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
        progress, trace = progress_for(json_lines=False), Trace(options.debug)
        job = submitted(driver, request, None, trace, None, meant.naming)
        foreground = Foreground(driver, job, collected, progress, trace, collected.have)
        foreground.run()
    finally:
        driver.close()
    note_torn(collected, foreground.job.outcomes)
    return foreground.conclude(*collected.complaints.told(foreground.job.outcomes, foreground.job.missing))
