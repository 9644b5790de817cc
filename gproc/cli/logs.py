"""`gproc logs [-f] [-t] JOB [NODES]`: what a job has written, as far as it is kept."""

from __future__ import annotations

import signal
import sys

from gproc.cli.foreground import Foreground
from gproc.cli.naming import meant_by
from gproc.cli.options import LogsOptions
from gproc.cli.progress import progress_for
from gproc.cli.showing import AsItComes
from gproc.cli.stamped import Stamped
from gproc.cli.style import has_colour
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.questions import explained
from gproc.errors import EXIT_SIGNAL_BASE


def run(options: LogsOptions) -> int:
    nodes = options.nodes[0] if options.nodes else ""
    meant = meant_by(options.socket, nodes, job=options.job)
    meant.check()
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} for the output of job {options.job}")
    driver = PollDriver(options.socket)
    progress = progress_for(json_lines=False)
    writing = Writing(progress)
    coloured = has_colour(sys.stdout)
    job = driver.session.view(options.job, meant, follow=options.follow, moments=options.times)
    if options.times:
        stamped = Stamped(writing, label=options.label, coloured=coloured)
        foreground = Foreground(driver, job, stamped, progress, trace)
        foreground.stamp_by(stamped.stamp)
    else:
        plain = AsItComes(writing, label=options.label, coloured=coloured, equal=None)
        foreground = Foreground(driver, job, plain, progress, trace)
    writing.watch(foreground)
    try:
        with explained(job):
            foreground.show()
    finally:
        driver.close()
    if foreground.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE
    return foreground.conclude(0, [])
