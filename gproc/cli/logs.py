"""`gproc logs [-f] [-t] JOB [NODES]`: what a job has written, as far as it is kept."""

from __future__ import annotations

import signal
import sys
from typing import Final

from gproc.cli.absent import without_part
from gproc.cli.foreground import Foreground
from gproc.cli.naming import meant_of_job
from gproc.cli.options import LogsOptions
from gproc.cli.progress import progress_for
from gproc.cli.showing import AsItComes
from gproc.cli.stamped import Stamped
from gproc.cli.style import has_colour
from gproc.cli.task_logs import TasksShown
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.questions import explained
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE, UsageError

_LACKS_OUTPUT: Final = 1
"""The status if some of the output was not kept, as that of `gproc get` if a file could not be copied."""


def run(options: LogsOptions) -> int:
    check_tasks(options)
    meant = meant_of_job(options.socket, options.nodes, options.job)
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
        if not options.label:
            foreground.tasks = TasksShown(
                job, writing, in_order=options.keep_order, tagged=options.tag, joblog=options.joblog
            )
    writing.watch(foreground)
    try:
        with explained(job):
            foreground.open()
            if asked_of_tasks(options) and job.viewed is not None and not job.viewed.tasks:
                raise UsageError(
                    f"{asked_of_tasks(options)[0]} is for tasks of a list, and job {job.number} runs one program on "
                    "each node"
                )
            foreground.show()
    finally:
        driver.close()
    if foreground.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE
    lacking = without_part(meant.nodes, job.places, job.number, meant.naming)
    status = EXIT_GPROC if lacking else _LACKS_OUTPUT if foreground.lacks_output else 0
    return foreground.conclude(status, lacking)


def asked_of_tasks(options: LogsOptions) -> list[str]:
    """The switches that are for tasks of a list."""
    ways = {"--keep-order": options.keep_order, "--tag": options.tag, "--joblog": bool(options.joblog)}
    return [name for name, is_asked in ways.items() if is_asked]


def check_tasks(options: LogsOptions) -> None:
    """Raises: UsageError if the switches contradict each other."""
    as_they_come = "--times" if options.times else "--label" if options.label else ""
    if as_they_come and (asked := asked_of_tasks(options)):
        raise UsageError(
            f"{as_they_come} shows what each node wrote as it came, and {asked[0]} what each task wrote: leave one of "
            "them out"
        )
