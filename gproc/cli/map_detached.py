"""`gproc map --detach`: the master gets the whole list and hands it out, and this command returns."""

from __future__ import annotations

import signal
from typing import Final

from gproc.cli.exec import left
from gproc.cli.foreground import Foreground, submitted
from gproc.cli.program_options import MapOptions
from gproc.cli.progress import progress_for
from gproc.cli.showing import AsItComes
from gproc.cli.stderr import complain
from gproc.cli.task_list import TaskList, left_out
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Progress, Sink
from gproc.client.task_listing import WholeList
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE
from gproc.naming.naming import Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.request.template import Template
from gproc.wire.job_messages import SHOWN_HOSTS_MAX, Keep
from gproc.wire.task_messages import TaskListing

PIECE_BYTES: Final = 64 << 10


def begin_detached(
    options: MapOptions, request: Request, bundle: Bundle | None, template: Template, entries: TaskList,
    first: tuple[int, bytes], trace: Trace, naming: Naming,
) -> int:  # fmt: skip
    """Raises: GprocError if the list cannot be, before anything is begun."""
    listing = listing_of(options, entries)
    data = whole_list(entries, first, template)
    if entries.empty:
        complain([left_out(entries)])
    driver = PollDriver(options.socket)
    try:
        job = submitted(driver, request, bundle, trace, keep_detached(options, naming), naming, listing)
        progress = progress_for(json_lines=False)
        writing = Writing(progress)
        shown = AsItComes(writing, label=False, coloured=False, equal=None)
        sending = ListSending(driver, job, shown, progress, trace, data)
        writing.watch(sending)
        sending.run()
    finally:
        driver.close()
    if sending.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE
    if sending.departed:
        return left(sending, detached=True)
    return sending.conclude(EXIT_GPROC, [] if sending.lost else [f"job {job.number} was ended before it had its list"])


def listing_of(options: MapOptions, entries: TaskList) -> TaskListing:
    """How the master hands it out."""
    return TaskListing(options.per_node, options.task_timeout_s, options.shell, options.max_fail, entries.noun)


def keep_detached(options: MapOptions, naming: Naming) -> Keep:
    return Keep(options.name, detach=True, hosts=naming.for_records[:SHOWN_HOSTS_MAX])


def whole_list(entries: TaskList, first: tuple[int, bytes], template: Template) -> bytes:
    """All of it, as it is sent.  Raises: GprocError for an entry that cannot be, or too many of them."""
    whole = WholeList(template, entries.noun)
    whole.add(first[0], (first[1],))
    while not entries.ended:
        while (entry := entries.take()) is not None:
            whole.add(entry[0], (entry[1],))
        if not entries.ended:
            entries.read()
    return whole.data()


class ListSending(Foreground):
    """Sends the list, and leaves the job when the master has it."""

    def __init__(
        self, driver: PollDriver, job: SessionJob, sink: Sink, progress: Progress, trace: Trace, data: bytes, *,
        survives: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(driver, job, sink, progress, trace, survives=survives)
        self._rest = memoryview(data)
        self._is_sent = False

    def _step(self) -> None:
        session = self._driver.session
        while self._rest and self.job.stdin_credit > 0 and not self.job.ended and self.job.number is not None:
            self._rest = self._rest[session.write_stdin(self.job, self._rest[:PIECE_BYTES]) :]
        if not self._rest and not self._is_sent and self.job.number is not None:
            self._is_sent = True
            session.end_stdin(self.job)
        super()._step()
