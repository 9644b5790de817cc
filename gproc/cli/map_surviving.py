"""`gproc map --on-disconnect=detach`: the master hands the list out, and this command shows what tasks write."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gproc.cli.foreground import submitted
from gproc.cli.map_detached import ListSending, keep_detached, listing_of, whole_list
from gproc.cli.program_options import MapOptions
from gproc.cli.showing import AsItComes
from gproc.cli.task_list import TaskList, left_out
from gproc.cli.task_logs import TasksShown
from gproc.cli.task_progress import TaskCounts, task_progress
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.events import Departed, Event, Started
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Progress, Sink
from gproc.client.summary import conclusion
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE
from gproc.naming.naming import MeantNodes, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.request.template import Template


def run_surviving(
    options: MapOptions, request: Request, bundle: Bundle | None, template: Template, entries: TaskList,
    first: tuple[int, bytes], trace: Trace, naming: Naming,
) -> int:  # fmt: skip
    """Raises: GprocError if the list cannot be, before anything is begun."""
    listing = listing_of(options, entries)
    data = whole_list(entries, first, template)
    progress = task_progress(lambda: TaskCounts(*foreground.counted, None))
    writing = Writing(progress)

    def shows(job: SessionJob) -> TasksShown:
        return TasksShown(
            job, writing, in_order=options.keep_order, tagged=options.tag, joblog=options.joblog,
            grouped=not options.ungroup,
        )  # fmt: skip

    driver = PollDriver(options.socket)
    try:
        job = submitted(driver, request, bundle, trace, keep_detached(options, naming), naming, listing)
        plain = AsItComes(writing, label=False, coloured=False, equal=None)
        foreground = SurvivingMap(driver, job, plain, progress, trace, data, shows)
        writing.watch(foreground)
        foreground.run()
    finally:
        driver.close()
    if foreground.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE
    if foreground.departed:
        return foreground.conclude(EXIT_GPROC, [])
    status, lines = conclusion(foreground.job)
    if entries.empty:
        lines.append(left_out(entries))
    return foreground.conclude(status, lines)


class SurvivingMap(ListSending):
    """Sends the list, and when the master has it looks at the job from its beginning, until it ends."""

    def __init__(
        self, driver: PollDriver, job: SessionJob, sink: Sink, progress: Progress, trace: Trace, data: bytes,
        shows: Callable[[SessionJob], TasksShown],
    ) -> None:  # fmt: skip
        super().__init__(driver, job, sink, progress, trace, data, survives=True)
        self._shows = shows
        self._early: list[int] = []
        """Signals that came before the master had shown the job."""

    @property
    def counted(self) -> tuple[int, int]:
        """Tasks that have ended, and that have failed."""
        return (self.tasks.done, self.tasks.failed) if self.tasks is not None else (0, 0)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Departed) and not event.reason and self.job.viewed is None:
            self._look()
            return
        super()._happened(event)
        if isinstance(event, Started) and self.job.viewed is not None:
            while self._early:
                self._signal(self._early.pop(0))

    def _look(self) -> None:
        begun = self.job
        meant = MeantNodes("", naming=begun.naming)
        self.job = self._driver.session.view(str(begun.number), meant, follow=True, control=True)
        self.job.absent, self.job.drained = begun.absent, begun.drained
        self.tasks = self._shows(self.job)
        self._tell(f"the master has the list, and job {begun.number} goes on without this command")

    def _on_signal(self, signum: int, frame: object) -> None:
        if self.tasks is not None and self.job.number is None and signum != signal.SIGHUP:
            self._early.append(signum)
        else:
            super()._on_signal(signum, frame)
