"""`gproc cp SRC... NODES:DEST`: put files and directories on nodes, for good."""

from __future__ import annotations

from typing import Final

from gproc.cli.foreground import Foreground
from gproc.cli.options import CpOptions
from gproc.cli.progress import progress_for
from gproc.cli.stderr import complain
from gproc.client.complaints import Complaints
from gproc.client.copying import Remote, copy_request, is_remote
from gproc.client.driver import PollDriver
from gproc.copy.builtin import FAILED
from gproc.copy.packing import changed, check_names, pack
from gproc.copy.shown import shown
from gproc.errors import UsageError

TRIES: Final = 3
"""A file that changes between being packed and being sent is left out of the next try."""


def run(options: CpOptions) -> int:
    *sources, destination = options.words
    if not sources:
        raise UsageError("NODES:DEST is missing\nusage: gproc [switches] cp SRC... NODES:DEST")
    if is_remote(sources[0]) and ":" not in destination:
        raise UsageError(f"cp puts files on nodes; to bring {sources[0]} here: gproc get {sources[0]} {destination}")
    remote = Remote.parse(destination)
    check_names(sources)
    failures: dict[str, None] = {}

    def missed(path: bytes, error: OSError) -> None:
        line = f"{shown(path)}: {error.strerror or error}"
        if line not in failures:
            failures[line] = None
            complain([line])

    left_out: list[bytes] = []
    for last in (*[False] * (TRIES - 1), True):
        bundle = pack(sources, missed, left_out)
        if bundle is None:
            return FAILED
        request = copy_request(remote, "place", exclude=options.exclude, timeout_s=options.timeout_s, bundle=bundle)
        complaints = Complaints()
        driver = PollDriver(options.socket)
        try:
            progress = progress_for(json_lines=options.json_progress)
            foreground = Foreground(driver, request, bundle, complaints, progress)
            foreground.run()
        finally:
            driver.close()
        gone = [] if last or foreground.problem is None else changed(bundle)
        if not gone:
            break
        left_out += gone
    job = foreground.job
    status = foreground.conclude(*complaints.told(job.outcomes, job.missing))
    return max(status, FAILED if failures else 0)
