"""One program on this node, from its ticket to its outcome: `relay.relayed_job.Downstream` for the node itself.

FETCHING --root is here--> STARTING --launcher answers, output ends--> DONE

After its end it still keeps what the master has not acknowledged, until the job is released: the way to the master may
change, and then the master asks for it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from gproc.descriptors import close_aside
from gproc.errors import GprocError, TrustError
from gproc.launch.launcher import Process
from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.node.ended import ENDING, outcome_of
from gproc.node.needs import NodeServices
from gproc.node.pipes import InputPipe, OutputPipe, make_pipe
from gproc.node.stdio import Stdio, open_pipes, open_terminal, resize
from gproc.node.suspension import Suspension
from gproc.nodespec import NodeSpec, format_path
from gproc.relay.delivery import KEPT_BYTES, KeptOutput, streams_of
from gproc.relay.relayed_job import RelayedJob
from gproc.request.acts import Act, SendSignal, SetTerminalSize, ShowStacks, SignalNodes
from gproc.request.outcome import Killed, NotStarted, Outcome, Refused
from gproc.request.spec import TerminalSize
from gproc.shown import reason_of, shown_text
from gproc.store.root import Root
from gproc.trust.orders import JobWords
from gproc.trust.outcomes import SignedEnd
from gproc.trust.signing import TicketRefused
from gproc.trust.ticket import Ticket
from gproc.wire import frames
from gproc.wire.endings import Acknowledged, RankEnded, Release
from gproc.wire.frames import InputBlock
from gproc.wire.merging import AnswerOutput
from gproc.wire.messages import Run, Signed

if TYPE_CHECKING:
    from gproc.node.tasks import TaskHost

log = logging.getLogger("gproc")

INTERRUPT: Final = b"\x03"
"""What Ctrl-C types: VINTR of termios(3)."""


class State(Enum):
    FETCHING = "fetching"
    STARTING = "starting"
    DONE = "done"


class Program:
    """Runs once.  After its last output it reports its outcome to the `RelayedJob`, each time that it is asked."""

    def __init__(
        self, services: NodeServices, relayed: RelayedJob, ticket: Ticket, words: JobWords,
        admit: Callable[[], Awaitable[None]], on_end: Callable[[Outcome], None],
    ) -> None:  # fmt: skip
        """admit: awaited before anything else is done; raises TrustError if the program may not run.

        on_end: called once, with the outcome."""
        self.ticket = ticket
        self._admit = admit
        self._on_end = on_end
        self._words = words
        self._forged: Refused | None = None
        """Why its input cannot be trusted any more."""
        self.state = State.FETCHING
        self._services = services
        self._relayed = relayed
        self._rank = -1
        self._size = 0
        self._root: Root | None = None
        self._process: Process | TaskHost | None = None
        self._input: InputPipe | TaskHost | None = None
        self._early: list[bytes] = []
        self._outputs: dict[int, OutputPipe | TaskHost] = {}
        self._kept: dict[int, KeptOutput] = {}
        self._outcome: Outcome | None = None
        self._leaves_files = False
        self._ended_as: RankEnded | None = None
        self._to_report: RankEnded | None = None
        """`_ended_as`, until it has been reported."""
        self._terminal_size = ticket.request.terminal
        self._keep_bytes = KEPT_BYTES
        self._killed_by = 0
        """The last signal with which the caller ended the job."""
        self._terminal = -1
        self._preparing: asyncio.Task[None] | None = None
        self._suspension = Suspension(self._send_signal)

    # What the `RelayedJob` calls

    def start(self, run: Run) -> None:
        if self._preparing is None:
            self._rank, self._size = run.branch.rank, run.size
            self._keep_bytes = min(KEPT_BYTES, run.kept_bytes)
            self._kept = {stream: KeptOutput(run.window_bytes) for stream in streams_of(self.ticket.request)}
            self._preparing = asyncio.create_task(self._prepare(run))
            return
        for stream, offset in zip(self._kept, run.branch.said, strict=False):
            begin = self._kept[stream].rewind(offset)
            if begin > offset and run.gone and stream != frames.FILES:
                self._relayed.output_gone(self, self._services.output_gone(self.ticket, self._rank, stream, begin))
            self._send(stream)
        self._to_report = self._ended_as
        self._report()

    def obey(self, job: int, act: Act | None, order: Signed) -> None:
        match act:
            case SendSignal(signum):
                self._signal(signum)
            case SignalNodes(signum, nodes):
                if NodeSpec.parse(nodes).selects(self._services.place):
                    self._signal(signum)
            case SetTerminalSize(size):
                self._resize(size)
            case ShowStacks(_, nodes):
                if not nodes or NodeSpec.parse(nodes).selects(self._services.place):
                    self._show_stacks(act)
            case None:
                pass
            case _:
                assert_never(act)

    def _signal(self, signum: int) -> None:
        if signum == signal.SIGKILL:
            self._killed_by = signum
        if self._process is not None:
            self._suspension.pass_on(signum)
            return
        self._suspension.note(signum)
        if self.state is State.FETCHING and signum in ENDING:
            self._stop_preparing()
            self._end(Killed(signum, started=False))

    def _show_stacks(self, act: ShowStacks) -> None:
        process = self._process
        processes = () if process is None else (process,) if isinstance(process, Process) else process.processes()
        self._services.look(
            self.ticket, self._rank, processes, act, lambda shown: self._relayed.show_stacks(self, shown)
        )

    def _send_signal(self, signum: int) -> None:
        if self._process is not None:
            self._process.signal(signum)

    def _resize(self, size: TerminalSize) -> None:
        """Set the terminal's size; a program with pipes has no terminal."""
        if self._terminal_size is not None:
            self._terminal_size = size
        if self._terminal >= 0:
            resize(self._terminal, size)

    def stdin(self, job: int, block: InputBlock) -> None:
        if self._forged is not None:
            self._relayed.credit_from_downstream(self, len(block.data))
            return
        try:
            data = self._words.input.open(block)
        except TicketRefused as error:
            self._end_for_forged_input(str(error), len(block.data))
            return
        if data is None:
            self._relayed.credit_from_downstream(self, len(block.data))
            return
        if self._terminal_size is not None and self.state is State.FETCHING and INTERRUPT in data:
            # The terminal does not exist yet, so it cannot turn the key into a signal.
            self._signal(signal.SIGINT)
        if self._terminal_size is not None and not data:
            # The caller's terminal is gone, so this one is closed too: Ctrl-D would have come as a byte.
            self._signal(signal.SIGHUP)
        if self.state is State.DONE:
            self._relayed.credit_from_downstream(self, len(data))
        elif self._input is None:
            self._early.append(data)
        else:
            self._input.write(data)

    def credit(self, job: int, stream: int, size: int) -> None:
        if (kept := self._kept.get(stream)) is not None:
            kept.grant(size)
            self._send(stream)
            self._report()

    def acknowledge(self, taken: Acknowledged) -> None:
        """The master has this much of a stream: it need not be kept any more, and the program may write as much.

        Raises: TicketRefused if the master did not sign it.
        """
        if (kept := self._kept.get(taken.stream)) is None:
            return
        self._words.orders.check_taken(taken)
        size = kept.acknowledge(taken.bytes)
        if size and (pipe := self._outputs.get(taken.stream)) is not None:
            pipe.credit(size)

    def answer(self, answer: AnswerOutput) -> None:
        raise AssertionError("a program announces nothing")

    def release(self, word: Release) -> None:
        """The job is released, so no node wants its output."""
        self.end()

    def end(self) -> None:
        """End the program, if it has not ended."""
        if self.state is not State.DONE:
            self._signal(signal.SIGKILL)

    def _end_for_forged_input(self, reason: str, size: int) -> None:
        """A relay between the master and this node has changed the input: the program gets none of it, and ends."""
        log.warning("job %d: %s", self.ticket.job, reason)
        self._forged = Refused(f"{reason}; its program was ended")
        self._relayed.credit_from_downstream(self, size)
        self._signal(signal.SIGKILL)

    # From fetching to the outcome

    async def _prepare(self, run: Run) -> None:
        stdio: Stdio | None = None
        try:
            await self._admit()
        except TrustError as error:
            log.warning("job %d: refused: %s", run.job, error)
            self._end(Refused(shown_text(str(error))))
            return
        try:
            root = await self._services.root(self.ticket, self._stage_progress)
            if root is not None:
                log.debug("job %d: its bundle is here, %d bytes", run.job, root.size_bytes)
                self._root = root
            await self._services.turn(self.ticket.caller.uid, heavy=self.ticket.request.is_heavy)
            if self.ticket.request.action == "map":
                self._host_tasks(root, run)
                return
            added = self._added(run)
            if self._terminal_size is None:
                stdio = open_pipes(stdin=self.ticket.request.stdin)
            else:
                stdio = open_terminal(self._terminal_size, self.ticket.caller.uid)
            self._process = self._services.spawn(self.ticket, root, added, stdio.program, self._ended)
        except Exception as error:
            if not isinstance(error, GprocError | OSError):
                log.exception("job %d: this is a bug in gproc", run.job)
            if stdio is not None:
                stdio.close_ours()
            self._end(NotStarted(shown_text(reason_of(error))))
            return
        self.state = State.STARTING
        log.debug("job %d: started", run.job)
        self._suspension.begin()
        for stream, handle in stdio.outputs.items():
            self._outputs[stream] = OutputPipe(
                handle,
                self._keep_bytes,
                lambda data, stream=stream: self._said(stream, data),  # type: ignore[misc]
            )
        if stdio.input >= 0:
            self._input = InputPipe(stdio.input, lambda size: self._relayed.credit_from_downstream(self, size))
            early, self._early = self._early, []
            self._input.write(*early)
        if self._terminal_size is not None:
            self._terminal = stdio.outputs[frames.STDOUT]

    def _host_tasks(self, root: Root | None, run: Run) -> None:
        """Run many programs instead of one, for tasks that come by standard input."""
        from gproc.node.tasks import TaskHost  # most nodes never have any

        host = TaskHost(
            self._services, self.ticket, root, self._added(run), self._rank, keep_bytes=self._keep_bytes,
            say=lambda data: self._said(frames.STDOUT, data),
            consumed=lambda size: self._relayed.credit_from_downstream(self, size), ended=self._ended,
        )  # fmt: skip
        self.state = State.STARTING
        self._process = self._input = self._outputs[frames.STDOUT] = host
        self._suspension.begin()
        early, self._early = self._early, []
        host.write(*early)

    def _added(self, run: Run) -> tuple[bytes, ...]:
        """The variables that tell a program its place in the job."""
        numbers = (b"GPROC_JOB=%d" % run.job, b"GPROC_RANK=%d" % self._rank, b"GPROC_SIZE=%d" % run.size)
        return (*numbers, b"GPROC_NODE=" + format_path(self._services.place).encode())

    def _stage_progress(self, received_bytes: int, complete: bool) -> None:
        self._relayed.stage_progress(self, self._rank, received_bytes, complete)

    def _said(self, stream: int, data: bytes) -> None:
        self._kept[stream].add(data)
        if data:
            self._send(stream)
        else:
            del self._outputs[stream]
            self._terminal = -1
            self._settle()

    def _send(self, stream: int) -> None:
        for offset, data in self._kept[stream].take():
            self._relayed.output(self, self._rank, stream, offset, data)

    def _ended(self, ending: ProgramEnded | SpawnFailed) -> None:
        self._outcome = outcome_of(ending, killed_by=self._killed_by)
        if self._input is not None:
            self._input.close()
        self._leaves_files = isinstance(ending, ProgramEnded) and ending.left
        if self.ticket.request.collect and isinstance(ending, ProgramEnded):
            self._collect(ending.directory)
        self._settle()

    def _collect(self, directory: int) -> None:
        """Bring files back, as one more stream of output, unless the job was to end at once."""
        if self._killed_by == signal.SIGKILL:
            if directory >= 0:
                close_aside(directory)
            return
        from gproc.node.bringing import nothing_but  # few jobs bring files back

        try:
            reader, writer = make_pipe(reader_is_ours=True)
        except OSError as error:  # no descriptor is free
            if directory >= 0:
                close_aside(directory)
            self._said(frames.FILES, nothing_but(reason_of(error)))
            return
        try:
            self._process = self._services.collect(self.ticket, self._root, directory, writer, self._collected)
        except (GprocError, OSError) as error:
            os.close(reader)
            self._said(frames.FILES, nothing_but(reason_of(error)))
            return
        self._outputs[frames.FILES] = OutputPipe(reader, self._keep_bytes, lambda data: self._said(frames.FILES, data))

    def _collected(self, ending: ProgramEnded | SpawnFailed) -> None:
        """The pipe's end says when all files are here."""
        if isinstance(ending, SpawnFailed):
            log.warning("job %d: its files cannot be brought back: %s", self.ticket.job, shown_text(ending.message))

    def _settle(self) -> None:
        """The program is done if it has ended and all of its output is here."""
        if self._outcome is not None and not self._outputs and self.state is not State.DONE:
            self._end(self._outcome)

    def _report(self) -> None:
        """Report the outcome, as soon as all of the output has been sent."""
        if self._to_report is not None and all(kept.all_sent for kept in self._kept.values()):
            ended, self._to_report = self._to_report, None
            self._relayed.finished(self, ended)

    @property
    def reported(self) -> bool:
        """Whether it has ended, and that was sent, after all of its output."""
        return self._ended_as is not None and self._to_report is None

    def _end(self, outcome: Outcome) -> None:
        self.state = State.DONE
        self._process = None
        self._suspension.end()
        if self.ticket.request.collect:
            self._services.tidy(self.ticket)
        if self._root is not None:
            if self.ticket.request.action == "place":
                self._root.relinked()
            self._root.release()
            self._root = None
        waiting = sum(len(data) for data in self._early)
        self._early.clear()
        if waiting:
            self._relayed.credit_from_downstream(self, waiting)
        outcome = self._forged or outcome
        log.debug("job %d: ended: %s, status %d", self.ticket.job, outcome.kind, outcome.status)
        self._on_end(outcome)
        self._ended_as = self._to_report = self._signed(outcome)
        self._report()

    def _signed(self, outcome: Outcome) -> RankEnded:
        kept = self._kept.values()
        job, said, digests = self.ticket.job, tuple(one.end for one in kept), tuple(one.digest for one in kept)
        ends = (self.ticket.session, job, self._rank, self._size, outcome, said, digests)
        end = SignedEnd(*ends, self._leaves_files)
        return RankEnded(job, self._rank, self._services.sign(end))

    def _stop_preparing(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
