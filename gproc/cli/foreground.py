"""A job in the foreground of a terminal: it gets signals and standard input; its output and progress are shown."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gproc.cli.absent import absent_lines, drained_lines, skipped_text, unreached_text
from gproc.cli.input_buffer import InputBuffer
from gproc.cli.interrupting import Interrupts, not_ended_text
from gproc.cli.stderr import complain
from gproc.cli.suspending import Suspending
from gproc.cli.trace import Trace
from gproc.cli.waking import SignalPipe
from gproc.client.driver import PollDriver
from gproc.client.events import Departed, Event, Exited, Output, Skipped, Staged, Started, TaskExited, Unkept, Unreached
from gproc.client.keys import DetachKeys
from gproc.client.session import STDIN_BYTES, JobEvent, JobRefused
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Progress, Sink
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE, GprocError
from gproc.naming.naming import PLACES, Naming
from gproc.packager import Bundle
from gproc.request.outcome import Outcome
from gproc.request.spec import Request
from gproc.request.wording import describe, name_of
from gproc.wire.job_messages import Keep
from gproc.wire.task_messages import TaskListing

if TYPE_CHECKING:
    from gproc.cli.task_logs import TasksShown
    from gproc.client.brought import BroughtBack
    from gproc.client.terminal import LentTerminal

PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that we pass on to the program.  What a second one of the first four means: `Interrupts`."""

_OF_SHELLS: Final = (signal.SIGINT, signal.SIGQUIT)
"""What the shell of a script has all its background commands ignore, so nobody asked for that.  The others are ignored
only if somebody did: nohup(1), `trap "" TERM`."""

_ERRORS_BYTES: Final = 8192
"""Bytes that are kept of the end of standard error: a program says last why it ends."""


class Foreground:
    """One job, from its submission to its last outcome, or until we leave it.

    lost: why the master was lost during the job.  problem: what went wrong on our side, as one sentence.
    reader_is_gone: nobody reads our standard output or standard error any more.
    lacks_output: whether some of the job's output was not kept, which was said.
    departed: whether we have left the job.  goes_on: and it goes on; else the master had to end it.
    errors: the end of what the nodes wrote to standard error.
    """

    def __init__(
        self, driver: PollDriver, job: SessionJob, sink: Sink, progress: Progress, trace: Trace,
        stdin: int | None = None, ended: Callable[[int, Outcome], None] = lambda rank, outcome: None,
        lent: LentTerminal | None = None, *, survives: bool = False, brought: BroughtBack | None = None,
    ) -> None:  # fmt: skip
        """stdin: the descriptor whose bytes every node's program gets; None: it gets none.

        ended: called for each node when all of its output has come.  lent: the terminal that the program uses.
        survives: whether the job goes on if we end.  brought: takes the files that it brings back.
        """
        self.job = job
        self.departed = self.goes_on = False
        self.lost: GprocError | None = None
        self.problem: str | None = None
        self.reader_is_gone = self.lacks_output = False
        self.errors = b""
        self.tasks: TasksShown | None = None
        """Shows what tasks write, if the master hands them out; None: their output is that of their nodes."""
        self._driver = driver
        self._sink = sink
        self._progress = progress
        self._trace = trace
        self._stdin = stdin
        self._ended = ended
        self._interrupts = Interrupts()
        self._gave_up = False
        self._suspending = Suspending(self, lent)
        self._signals = SignalPipe()
        self._chunks_told = 0
        self._survives = survives
        self._brought = brought
        self._input = InputBuffer()
        """What was read while the master was behind: one large block costs less than many small ones."""
        self._keys: DetachKeys | None = None
        self._discards = False
        self._ends_input = True
        self._stamp: Callable[[int, float], None] = lambda _rank, _time_s: None

    def open(self) -> None:
        """Wait until the master has taken the job, or shows it.  Raises: JobRejected, LinkLost."""
        while self.job.number is None:
            self._step()

    def watch_keys(self, terminal: int, *, discards: bool) -> None:
        """Leave the job when the keys for that are typed.  discards: whether all else that is typed is dropped."""
        self._stdin, self._keys, self._discards = terminal, DetachKeys(), discards
        if self.job.number is not None and self.job.request.terminal is not None:
            self._on_resize()

    def lend(self, lent: LentTerminal) -> None:
        """The program uses this terminal."""
        self._suspending = Suspending(self, lent)

    def read_input(self, stdin: int) -> None:
        """Every node's program gets the bytes of this descriptor."""
        self._stdin = stdin

    def keep_input_open(self) -> None:
        """The end of our input is not that of the program's terminal, which would hang up."""
        self._ends_input = False

    def stamp_by(self, stamp: Callable[[int, float], None]) -> None:
        """stamp: called with the rank and the time of output that comes next, if times were asked for."""
        self._stamp = stamp

    def show(self) -> None:
        """Show what comes, until it is over.  Signals are for this command: Ctrl-C ends the view and not the job.

        Raises: JobRejected, LinkLost.
        """
        try:
            while not self.job.ended:
                self._step()
        finally:
            self._finish_shown()

    def run(self) -> None:
        """Raises: JobRejected; LinkLost, PeerError if the master is lost before the job runs."""
        heard = [each for each in PASSED_ON if each in _OF_SHELLS or signal.getsignal(each) != signal.SIG_IGN]
        former = {signum: signal.signal(signum, self._on_signal) for signum in heard}
        if self.job.request.terminal is not None:
            former[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._on_resize)
        try:
            with self._signals, self._suspending:
                while not self.job.ended:
                    self._step()
            self._progress.tick()
        except GprocError as error:
            if not self.job.places:
                raise
            self.lost = error
            self._lose()
        finally:
            self._progress.clear()
            self._finish_shown()
            if self._brought is not None:
                self._brought.finish()
            for signum, handler in former.items():
                signal.signal(signum, handler)
        bundle = self.job.request.bundle
        if bundle is not None and self.problem is None:
            self.problem = self._driver.chunks.problems.get(bundle.digest)

    def _finish_shown(self) -> None:
        self._sink.finish()
        if self.tasks is not None:
            self.tasks.finish()

    def conclude(self, status: int, lines: list[str]) -> int:
        """Report on stderr what failed, our own problems first.  Returns the exit status."""
        if self.problem is not None:
            if self._gave_up:  # the signals that ended it were ours
                status, lines = 0, []
            lines.insert(0, self.problem)
            status = max(status, EXIT_GPROC)
        if self.lost is not None:
            lines.insert(0, str(self.lost))
        lines += absent_lines(self.job.absent) + drained_lines(self.job.drained)
        complain(lines)
        self._trace.step(f"ends with status {status}")
        return status

    def stop(self) -> None:
        """End the program, because its output has no reader any more: SIGPIPE ends a local program in this case.

        A job that we only look at goes on, and so does one that outlives us.
        """
        if self.job.viewed is not None or self._survives:
            self._driver.session.leave(self.job)
            return
        self._gave_up = self.problem is not None
        self._signal(signal.SIGTERM)

    def _lose(self) -> None:
        """The master is lost, and nothing more comes."""

    def _step(self) -> None:
        watched = [self._signals.handle]
        self._driver.connection.flush()
        if not self._driver.session.outbox:
            self._pass_input()
        if self._stdin is not None and self._readable_bytes() > 0:
            watched.append(self._stdin)
        wait_s = self._progress.tick()
        if self._keys is not None and (held_s := self._keys.wait_s(time.monotonic())) is not None:
            wait_s = held_s if wait_s is None else min(wait_s, held_s)
        found = self._driver.wait(watched, wait_s)
        if self._stdin in found:
            self._read_stdin()
        elif self._keys is not None and (late := self._keys.late(time.monotonic())) and not self._discards:
            self._input.add(late)
        for event in self._driver.events():
            match event:
                case JobRefused(job):
                    assert job.rejected is not None
                    self._trace.step("the master does not take the job")
                    raise job.rejected
                case JobEvent(_, happened):
                    self._happened(happened)
                case _:
                    pass
        self._tell_of_chunks()
        self._signals.empty()
        self._suspending.act()

    def _tell_of_chunks(self) -> None:
        asked = self._driver.chunks.asked
        if asked != self._chunks_told:
            self._tell(f"the master asks for {asked - self._chunks_told} chunks")
            self._chunks_told = asked

    def _tell(self, text: str) -> None:
        if self._trace.is_on:
            self._progress.clear()
            self._trace.step(text)

    def _tell_detail(self, text: str) -> None:
        if self._trace.has_details:
            self._progress.clear()
            self._trace.detail(text)

    def _happened(self, event: Event) -> None:
        match event:
            case Output(_, stream, data, rank, time_s):
                if time_s is not None:
                    self._stamp(rank, time_s)
                if stream == "stderr":
                    self.errors = (self.errors + data[-_ERRORS_BYTES:])[-_ERRORS_BYTES:]
                if event.task is not None and self.tasks is not None:
                    self.tasks.output(event)
                elif stream != "files":
                    self._sink.output(rank, stream, memoryview(data))
                elif self._brought is not None:
                    self._brought.output(rank, memoryview(data))
                self._driver.session.consumed(self.job, stream, len(data))
                self._tell_detail(f"{self.job.nodes[rank]} wrote {len(data)} bytes to {stream}")
            case TaskExited():
                if self.tasks is not None:
                    self.tasks.ended(event)
            case Staged(_, received_bytes, complete, rank):
                self._progress.staged(rank, received_bytes, complete)
                self._tell_detail(f"{self.job.nodes[rank]} has {received_bytes} bytes{', all' if complete else ''}")
            case Started(missing=missing):
                gone = f"; not connected: {missing}" if missing else ""
                nodes = self.job.naming.fold(self.job.places)
                self._tell(f"the master took it as job {self.job.number} on {nodes}{gone}")
                self._begin()
            case Exited(node, outcome, rank):
                self._ended(rank, outcome)
                self._progress.ended(rank, outcome.status == 0)
                self._tell(f"{node} has ended: {describe(outcome) or 'exit status 0'}")
            case Unreached():
                self._progress.clear()
                complain([unreached_text(event)])
            case Skipped():
                self.lacks_output = True
                self._progress.clear()
                complain([skipped_text(event)])
            case Unkept(reason):
                self.lacks_output = True
                self._progress.clear()
                complain([f"job {self.job.number}: {reason}"])
            case Departed(reason):
                self._tell(f"has left job {self.job.number}")
                self.departed, self.goes_on = True, not reason
                if reason:
                    self.problem = reason if self.job.viewed else f"job {self.job.number} is ended: {reason}"

    def _begin(self) -> None:
        if self.job.request.terminal is not None:
            self._on_resize()  # it may have changed since we asked
        bundle = self.job.request.bundle
        if bundle is not None and bundle.is_broadcast:
            self._progress.begin(len(self.job.places), bundle.size_bytes)
        self._sink.begin(self.job.places)
        if self._brought is not None:
            self._brought.begin(self.job.places)
        self._progress.run(self.job.places, self.job.request.fanout, self.job.naming)

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        leave = False
        try:
            if self._keys is None:
                count = self._input.read(self._stdin, self._readable_bytes())
            else:
                typed = os.read(self._stdin, self._readable_bytes())
                count = len(typed)
                typed, leave = self._keys.feed(typed, time.monotonic())
                if not self._discards:
                    self._input.add(typed)
        except BlockingIOError:
            return
        except OSError as error:
            self.problem = f"cannot read stdin: {error.strerror}"
            count = 0
        if not count:
            self._end_of_input()
        elif leave:
            self._pass_input()
            self._driver.session.leave(self.job)
            self._stdin = None

    def _pass_input(self) -> None:
        if self._input:
            self._driver.session.write_stdin(self.job, self._input.take(), lent=True)

    def _end_of_input(self) -> None:
        self._pass_input()
        self._stdin = None
        if self._survives and self._keys is not None:
            # The terminal is lost, and the job goes on; its input has not ended.
            self._driver.session.leave(self.job)
        elif self._ends_input and not self._discards:
            self._driver.session.end_stdin(self.job)
            self._tell("standard input has ended")

    def _readable_bytes(self) -> int:
        """How much may be read of our input.  A key that was held back is one byte more."""
        if self._discards:
            return STDIN_BYTES
        room = min(self.job.stdin_credit, STDIN_BYTES) - len(self._input)
        return room if self._keys is None or room <= 0 else max(1, room - 1)

    def _on_signal(self, signum: int, _frame: object) -> None:
        if signum in (signal.SIGUSR1, signal.SIGUSR2):
            self._signal(signum)
            return
        if self.job.number is None or (signum == signal.SIGHUP and self._survives):
            # No job runs yet, or it goes on without us.
            raise SystemExit(EXIT_SIGNAL_BASE + signum)
        if (passed_on := self._interrupts.heard(signum)) is None:
            with contextlib.suppress(RuntimeError):  # as in `tidy`
                self._progress.clear()
                complain([not_ended_text(self.job.number)])
            raise SystemExit(EXIT_SIGNAL_BASE + signum)
        self._signal(passed_on)

    # What Ctrl-Z needs: `gproc.cli.suspending`

    @property
    def can_be_told(self) -> bool:
        return self.job.number is not None and not self._driver.connection.is_flushing

    def tell(self, signum: int, until_s: float) -> None:
        with contextlib.suppress(GprocError):  # the master is gone: our next step will say so
            self._signal(signum)
            self._driver.connection.drain(until_s)

    def tidy(self) -> None:
        with contextlib.suppress(RuntimeError):  # we have interrupted a write to stderr
            self._progress.clear()

    def resumed(self) -> None:
        if self.job.request.terminal is not None:
            self._on_resize()

    def _on_resize(self, *_: object) -> None:
        from gproc.client.terminal import terminal_size_of  # a caller without a terminal needs no termios

        if self._stdin is not None:
                # A terminal that hung up has no size.  Our next read from it will say so.
            with contextlib.suppress(OSError):
                self._driver.session.resize(self.job, terminal_size_of(self._stdin))
                self._driver.connection.flush()

    def _signal(self, signum: int) -> None:
        self._tell(f"sends {name_of(signum)} to the job")
        self._driver.session.signal(self.job, signum)
        self._driver.connection.flush()


def submitted(
    driver: PollDriver, request: Request, bundle: Bundle | None, trace: Trace, keep: Keep | None = None,
    naming: Naming = PLACES, listing: TaskListing | None = None,
) -> SessionJob:
    """The job, on its way to the master."""
    trace.step(f"asks the master at {driver.connection.path} for nodes {request.nodes}")
    return driver.submit(request, bundle, keep, naming, listing)
