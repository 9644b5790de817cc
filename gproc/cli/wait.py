"""`gproc wait JOB`: waits for the end of a job, and ends with its status."""

from __future__ import annotations

from gproc.cli.foreground import Foreground
from gproc.cli.options import WaitOptions
from gproc.cli.progress import progress_for
from gproc.cli.showing import AsItComes
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.questions import explained
from gproc.client.summary import conclusion


def run(options: WaitOptions) -> int:
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} for the end of job {options.job}")
    driver = PollDriver(options.socket)
    progress = progress_for(json_lines=False)
    job = driver.session.view(options.job, output=False, follow=True)
    writing = Writing(progress)
    shown = AsItComes(writing, label=False, coloured=False, equal=None)
    foreground = Foreground(driver, job, shown, progress, trace)
    writing.watch(foreground)
    try:
        with explained(job):
            foreground.show()
    finally:
        driver.close()
    return foreground.conclude(*conclusion(job))
