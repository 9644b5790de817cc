"""`gproc attach JOB`: goes back to a job that runs."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

from gproc.cli.exec import left, readable_stdin
from gproc.cli.foreground import Foreground
from gproc.cli.options import AttachOptions
from gproc.cli.progress import progress_for
from gproc.cli.showing import AsItComes
from gproc.cli.stderr import complain
from gproc.cli.style import has_colour
from gproc.cli.task_logs import TasksShown
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.questions import explained
from gproc.client.session_job import SessionJob
from gproc.client.summary import conclusion, summarise
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE, GprocError


def run(options: AttachOptions) -> int:
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} for job {options.job}")
    driver = PollDriver(options.socket)
    progress = progress_for(json_lines=False)
    writing = Writing(progress)
    shown = AsItComes(writing, label=options.label, coloured=has_colour(sys.stdout), equal=None)
    job = driver.session.view(options.job, start=False, follow=True, control=not options.no_stdin)
    foreground = Foreground(driver, job, shown, progress, trace, survives=True)
    if not options.label:
        foreground.tasks = TasksShown(job, writing)
    writing.watch(foreground)
    try:
        with explained(job):
            foreground.open()
        check_running(job)
        with lend_terminal(options, job, foreground):
            foreground.run()
    finally:
        driver.close()
    if foreground.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE
    if foreground.departed:
        return left(foreground, detached=False)
    if foreground.lost is not None and not job.ended:
        return foreground.conclude(*without_master(job))
    return foreground.conclude(*conclusion(job))


def without_master(job: SessionJob) -> tuple[int, list[str]]:
    """The status and the lines if the master went away first.  Ranks that have not ended are not lost: they may still
    run."""
    known = sorted(job.outcomes)
    ends = {index: job.outcomes[rank] for index, rank in enumerate(known)}
    status, lines = summarise([job.places[rank] for rank in known], ends, "", naming=job.naming)
    number = job.number
    lines.append(
        f"if the master has crashed, job {number} goes on if it is detached: start the master again, then gproc attach "
        f"{number}"
    )
    return max(status, EXIT_GPROC), lines


def check_running(job: SessionJob) -> None:
    """Raises: GprocError if it has ended; complains if it takes no input from here."""
    viewed = job.viewed
    assert viewed is not None
    if viewed.state not in ("running", "ending"):
        raise GprocError(f"job {job.number} has ended: gproc logs {job.number} shows its output, if it is kept")
    if viewed.stdin and not viewed.controls:
        number = job.number
        complain([f"another client gives job {number} its input, or it is another user's; here you see its output"])


def lend_terminal(options: AttachOptions, job: SessionJob, foreground: Foreground) -> AbstractContextManager[None]:
    """Give the job our input, and watch for the keys that leave it."""
    takes_input = job.request.stdin and not options.no_stdin
    if not os.isatty(0):
        if takes_input and (stdin := readable_stdin()) is not None:
            foreground.read_input(stdin)
        return nullcontext()
    from gproc.client.terminal import LentTerminal, keys_only, lines

    foreground.watch_keys(0, discards=not takes_input)
    if job.request.terminal is not None and not options.no_stdin:
        lent = LentTerminal(0)
        foreground.lend(lent)
        return lent
    return lines(0) if takes_input else keys_only(0)
