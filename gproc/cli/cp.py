"""`gproc cp SRC... NODES:DEST`: copies files and directories to nodes, for good."""

from __future__ import annotations

from gproc.cli.foreground import Foreground, submitted
from gproc.cli.naming import meant_by
from gproc.cli.options import CpOptions
from gproc.cli.progress import progress_for
from gproc.cli.reading_line import ReadingLine
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace, bundle_text
from gproc.client.complaints import Complaints
from gproc.client.copying import CopyTries, Remote, copy_request, is_remote
from gproc.client.driver import PollDriver, check_master
from gproc.copy.builtin import FAILED
from gproc.errors import UsageError


def run(options: CpOptions) -> int:
    *sources, destination = options.words
    if not sources:
        raise UsageError("NODES:DEST is missing\nusage: gproc [switches] cp SRC... NODES:DEST")
    if is_remote(sources[0]) and ":" not in destination:
        raise UsageError(f"cp copies files to nodes; to copy {sources[0]} here: gproc get {sources[0]} {destination}")
    remote = Remote.parse(destination)
    meant = meant_by(options.socket, remote.nodes, options.exclude)
    remote = remote._replace(nodes=meant.nodes)
    check_master(options.socket)
    trace = Trace(options.debug)
    line = ReadingLine(quiet=options.json_progress)

    def missed(reason: str) -> None:
        line.clear()
        complain([reason])

    tries = CopyTries(sources, missed)
    trace.step(f"reads {', '.join(sources)}")
    while True:
        with line:
            bundle = tries.pack()
        if bundle is None:
            return FAILED
        if trace.is_on:
            trace.step(f"packed {bundle_text(bundle.digest, bundle.manifest.size_bytes())}")
        request = copy_request(remote, "place", exclude=meant.exclude, timeout_s=options.timeout_s, bundle=bundle)
        complaints = Complaints(meant.naming)
        driver = PollDriver(options.socket)
        try:
            progress = progress_for(json_lines=options.json_progress)
            job = submitted(driver, request, bundle, trace, None, meant.naming)
            foreground = Foreground(driver, job, complaints, progress, trace)
            foreground.run()
        finally:
            driver.close()
        if not tries.again(bundle, foreground.problem):
            job = foreground.job
            status = foreground.conclude(*complaints.told(job.outcomes, job.missing))
            return max(status, FAILED if tries.failures else 0)
