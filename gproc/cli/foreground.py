"""A job in the foreground of a terminal: it gets signals and standard input; its output and progress are shown."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gproc.cli.absent import absent_lines
from gproc.cli.stderr import complain
from gproc.cli.suspending import Suspending
from gproc.cli.trace import Trace
from gproc.cli.waking import SignalPipe
from gproc.client.driver import PollDriver
from gproc.client.events import Exited, Output, Staged, Started, Unreached
from gproc.client.session import STDIN_BYTES, JobEvent, JobRefused
from gproc.client.sinks import Progress, Sink
from gproc.client.summary import describe, name_of
from gproc.errors import EXIT_GPROC, GprocError
from gproc.nodespec import fold
from gproc.packager import Bundle
from gproc.request.outcome import Outcome
from gproc.request.spec import Request

if TYPE_CHECKING:
    from gproc.client.terminal import LentTerminal

PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that we pass on to the program.  A second one of the first four kills it."""

class Foreground:
    """One job, from its submission to its last outcome.

    lost: why the master was lost during the job.  problem: what went wrong on our side, as one sentence.
    reader_is_gone: nobody reads our standard output or standard error any more.
    """

    def __init__(
        self, driver: PollDriver, request: Request, bundle: Bundle | None, sink: Sink, progress: Progress, trace: Trace,
        stdin: int | None = None, ended: Callable[[int, Outcome], None] = lambda rank, outcome: None,
        lent: LentTerminal | None = None,
    ) -> None:  # fmt: skip
        """stdin: the descriptor whose bytes every node's program gets; None: it gets none.

        ended: called for each node when all of its output has come.  lent: the terminal that the program uses.
        """
        self.job = driver.submit(request, bundle)
        self.lost: GprocError | None = None
        self.problem: str | None = None
        self.reader_is_gone = False
        self._driver = driver
        self._sink = sink
        self._progress = progress
        self._trace = trace
        self._stdin = stdin
        self._ended = ended
        self._interrupted = False
        self._suspending = Suspending(self, lent)
        self._signals = SignalPipe()
        self._chunks_told = 0
        trace.step(f"asks the master at {driver.connection.path} for nodes {request.nodes}")

    def run(self) -> None:
        """Raises: JobRejected; LinkLost, PeerError if the master is lost before the job runs."""
        former = {signum: signal.signal(signum, self._on_signal) for signum in PASSED_ON}
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
        finally:
            self._progress.clear()
            self._sink.finish()
            for signum, handler in former.items():
                signal.signal(signum, handler)
        bundle = self.job.request.bundle
        if bundle is not None and self.problem is None:
            self.problem = self._driver.chunks.problems.get(bundle.digest)

    def conclude(self, status: int, lines: list[str]) -> int:
        """Report on stderr what failed, our own problems first.  Returns the exit status."""
        if self.problem is not None:
            lines.insert(0, self.problem)
            status = max(status, EXIT_GPROC)
        if self.lost is not None:
            lines.insert(0, str(self.lost))
        lines += absent_lines(self.job.absent)
        complain(lines)
        self._trace.step(f"ends with status {status}")
        return status

    def stop(self) -> None:
        """End the program, because nobody reads its output: SIGPIPE ends a local program in this case."""
        self._signal(signal.SIGTERM)

    def _step(self) -> None:
        watched = [self._signals.handle]
        if self._stdin is not None and self.job.stdin_credit > 0:
            watched.append(self._stdin)
        found = self._driver.wait(watched, self._progress.tick())
        if self._stdin in found:
            self._read_stdin()
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

    def _happened(self, event: Started | Staged | Output | Exited | Unreached) -> None:
        match event:
            case Output(_, stream, data, rank):
                self._sink.output(rank, stream, memoryview(data))
                self._driver.session.consumed(self.job, stream, len(data))
                self._tell_detail(f"{self.job.nodes[rank]} wrote {len(data)} bytes to {stream}")
            case Staged(_, received_bytes, complete, rank):
                self._progress.staged(rank, received_bytes, complete)
                self._tell_detail(f"{self.job.nodes[rank]} has {received_bytes} bytes" + ", all" * complete)
            case Started(missing=missing):
                gone = f"; not connected: {missing}" if missing else ""
                self._tell(f"the master took it as job {self.job.number} on {fold(self.job.places)}{gone}")
                self._begin()
            case Exited(node, outcome, rank):
                self._ended(rank, outcome)
                self._progress.ended(rank, outcome.status == 0)
                self._tell(f"{node} has ended: {describe(outcome) or 'exit status 0'}")
            case Unreached():
                self._progress.clear()
                complain([unreached_text(event)])

    def _begin(self) -> None:
        if self.job.request.terminal is not None:
            self._on_resize()  # it may have changed since we asked
        bundle = self.job.request.bundle
        if bundle is not None and bundle.is_broadcast:
            self._progress.begin(len(self.job.places), bundle.size_bytes)
        self._sink.begin(self.job.places)
        self._progress.run(self.job.places)

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, min(self.job.stdin_credit, STDIN_BYTES))
        except BlockingIOError:
            return
        except OSError as error:
            self.problem = f"cannot read stdin: {error.strerror}"
            data = b""
        if data:
            self._driver.session.write_stdin(self.job, data)
        else:
            self._driver.session.end_stdin(self.job)
            self._stdin = None
            self._tell("standard input has ended")

    def _on_signal(self, signum: int, _frame: object) -> None:
        if signum in (signal.SIGUSR1, signal.SIGUSR2):
            self._signal(signum)
            return
        if self.job.number is None:
            # No job runs yet.
            raise SystemExit(128 + signum)
        self._signal(signal.SIGKILL if self._interrupted else signum)
        self._interrupted = True

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


def unreached_text(event: Unreached) -> str:
    """What a person is told of nodes that no way leads to, or leads to again."""
    if not event.until_s:
        return f"{event.nodes}: reached again"
    until = time.strftime("%H:%M:%S", time.localtime(event.until_s))
    return f"{event.nodes}: cannot be reached: {event.reason}; may run until {until}"
