"""What tasks have written that the master hands out, each task's as one block: `gproc logs` and `gproc attach`."""

from __future__ import annotations

from gproc.cli.task_output import JobLog, Printing
from gproc.cli.writing import Writing
from gproc.client.events import Output, TaskExited
from gproc.client.session_job import SessionJob
from gproc.request.template import Template
from gproc.tasks.feed import TaskDone, TaskOutput


class TasksShown:
    """What `Foreground` gives the output of tasks to."""

    def __init__(
        self, job: SessionJob, writing: Writing, *, in_order: bool = False, tagged: bool = False, joblog: str = "",
        grouped: bool = True,
    ) -> None:  # fmt: skip
        """joblog: a file that gets a line for each task; "": none."""
        self.done = self.failed = 0
        """Tasks that have ended, and of these those that have failed."""
        self._job = job
        self._printing = Printing(writing, grouped=grouped, in_order=in_order, tagged=tagged)
        self._joblog = joblog
        self._log: JobLog | None = None

    def output(self, event: Output) -> None:
        assert event.task is not None
        if event.stream != "files":
            said = TaskOutput(event.task, event.stream, bytes(event.data))
            if (log := self._opened_log()) is not None:
                log.output(said)
            self._printing.output(said)

    def ended(self, event: TaskExited) -> None:
        """Raises: GprocError if the job log cannot be written."""
        self.done += 1
        self.failed += event.outcome.status != 0
        done = TaskDone(event.task, event.rank, event.slot, event.outcome, event.seconds)
        if (log := self._opened_log()) is not None:
            log.done(done, event.node, event.time_s)
        self._printing.done(done)

    def finish(self) -> None:
        self._printing.finish()
        if self._job.number is not None and (log := self._opened_log()) is not None:
            log.close()

    def _opened_log(self) -> JobLog | None:
        """Not opened before the command is known."""
        if self._joblog and self._log is None:
            self._log = JobLog(self._joblog, Template(self._job.request.argv))
        return self._log
