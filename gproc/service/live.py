"""A running job: passes messages between the tree and its takers: the attached client, the spool, or both."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from gproc.errors import PeerError
from gproc.nodespec import Place, fold, format_path
from gproc.records.inputs import InputPart
from gproc.relay.delivery import streams_of
from gproc.relay.receipt import JobReceipt, RunOfNode, has_nothing
from gproc.relay.relayed_job import RelayedJob
from gproc.request.acts import Act, SendSignal, SetTerminalSize, ShowStacks, SignalNodes
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Refused
from gproc.request.signals import ENDING, STOPPING
from gproc.request.spec import TerminalSize
from gproc.service.continuing import is_given_up, skip_gone
from gproc.service.jobs import JobRecord
from gproc.service.keeping import say_ended
from gproc.service.outofreach import UnreachedRanks
from gproc.service.pacing import PacedOrders
from gproc.service.takers import SharedCredit
from gproc.service.viewer import Viewer
from gproc.service.window import INPUT_FOR_TURNS_BYTES, Window, input_sizes
from gproc.shown import shown_text
from gproc.trust.orders import SignedJob
from gproc.trust.signing import Context, Signer
from gproc.wire import frames, messages
from gproc.wire.branch import Branch
from gproc.wire.credit import input_block_bytes
from gproc.wire.endings import OutputGone, Release

if TYPE_CHECKING:
    from gproc.link.connection import Link
    from gproc.records.inputs import JobInputLog
    from gproc.records.spooling import JobSpool
    from gproc.service.registry import Node

log = logging.getLogger("gproc")

GRACE_S: Final = 1.0
"""Seconds between SIGTERM and SIGKILL when a job's time is up, so that all its programs end within 2 s."""

ORDERS_MAX: Final = 64
"""The last orders of a job are kept: a node that was not reached gets them later."""

UNBOUNDED_BYTES: Final = 1 << 62
"""Credit for output that no client reads."""


class LiveJob:
    """The `Upstream` of a job at the master.  Output that neither its client nor its spool takes is dropped.

    attached: the connection of the client that gets the job's events; None: no client does.
    spool: gets its output too; None: it is not kept.  survives: whether it goes on if its client dies.
    """

    def __init__(
        self, job: JobRecord, runs: Sequence[RunOfNode | None], signed: SignedJob, attached: Link | None,
        ended: Callable[[LiveJob], None], has_room: Callable[[LiveJob], None] = lambda _: None,
        changed: Callable[[LiveJob], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """runs: by rank; None: its node is not connected any more.  ended: called once, when the last rank has ended.
        has_room: called when more nodes may begin (with --fanout).  changed: it was given an order."""
        self.job = job
        self.attached = attached
        self.spool: JobSpool | None = None
        self.survives = False
        self.has_all = job.request.bundle is None
        """Whether no client need send any of its bundle any more."""
        self.viewers: set[Viewer] = set()
        self.stdin_credit = job.window_bytes if job.request.stdin else 0
        """The credit of the client that gives the job its input."""
        self.input_log: JobInputLog | None = None
        """What keeps its input for another master; None: it is not kept."""
        self.input_ended = False
        self.input_from: object = attached
        """The client that gives its input and its terminal; None: no client does now."""
        self._credit = SharedCredit()
        self._passed: dict[tuple[int, int], int] = {}
        """How much of each stream its takers have been given."""
        if attached is not None:
            self._credit.join(attached)
        self.runs = list(runs)
        self.received = JobReceipt(job.number, job.request, signed.signer, self.runs, job.window_bytes)
        self.rank_on = {run.nonce: rank for rank, run in enumerate(runs) if run is not None}
        self.nonce_of = {rank: nonce for nonce, rank in self.rank_on.items()}
        self.orders: deque[tuple[Act, messages.Signed]] = deque(maxlen=ORDERS_MAX)
        is_map, has_turns = job.request.action == "map", job.window is not None
        sizes = input_sizes(job.places, job.window_bytes, tasks=is_map, turns=has_turns)
        self.relayed = RelayedJob(job.number, signed.ticket, job.request, self, self.received, *sizes)
        self.unreached = UnreachedRanks(job, self._say, self.relayed.hold_input)
        self._input_bytes = 0
        self.paced = PacedOrders(self._order)
        self._signer = signed.signer
        self.block_bytes = frames.MAX_STDIO_BYTES
        self._ended, self._changed, self._has_room = ended, changed, has_room
        self._timer: asyncio.TimerHandle | None = None

    def signal(self, signum: int) -> None:
        """Send a signal to every process of the job."""
        if signum != signal.SIGKILL or self.job.killed:
            self.paced.add(SendSignal(signum))
        else:
            self.job.killed = True
            self._order(SendSignal(signum))
        self._signal_waiting(signum, None)

    def signal_nodes(self, signum: int, ranks: Sequence[int]) -> None:
        """Send a signal to its processes on some nodes."""
        self._order(SignalNodes(signum, fold(self.job.places[rank] for rank in ranks)))
        if signum in ENDING:
            self._signal_waiting(signum, ranks)

    def _signal_waiting(self, signum: int, ranks: Iterable[int] | None) -> None:
        """What a signal means to nodes that wait for their turn.  ranks: only these; None: all."""
        window = self.job.window
        if window is None:
            return
        if signum in ENDING:
            self._drop(window.drop(ranks), Killed(signum, started=False))
        elif signum in STOPPING:
            window.held = True
        elif signum == signal.SIGCONT:
            window.held = False
            self._has_room(self)

    def _drop(self, ranks: Iterable[int], outcome: Outcome) -> None:
        """These ranks will not have their turn."""
        for rank in ranks:
            self.unreached.given_up.add(rank)
            self.send(messages.Finished(self.job.number, rank, outcome))

    def resize(self, size: TerminalSize) -> None:
        self.paced.add(SetTerminalSize(size))

    def stdin(self, data: bytes) -> None:
        """Pass on what the client sends as standard input; b"" is its end.

        Raises: PeerError if the client has no credit for it.
        """
        if len(data) > self.stdin_credit or self.input_ended:
            raise PeerError("standard input without credit for it, or after its end")
        self.input_ended = not data
        self.stdin_credit -= len(data)
        self._input_bytes += len(data)
        if self.job.window is not None and self._input_bytes > INPUT_FOR_TURNS_BYTES:
            reason = f"standard input has over {INPUT_FOR_TURNS_BYTES >> 20} MiB, more than is kept for nodes that wait"
            self._drop(self.job.window.drop(), NotStarted(reason))
        self._send_input(data)

    def _send_input(self, data: bytes) -> None:
        for begin in range(0, max(1, len(data)), self.block_bytes):
            block = self._signer.block(data[begin : begin + self.block_bytes])
            if self.input_log is None:
                self.relayed.stdin(block)
            else:
                self.input_log.add(InputPart(block.offset, block.data), partial(self._pass_input, block))

    def _pass_input(self, block: frames.InputBlock) -> None:
        if not self.job.over:
            self.relayed.stdin(block)

    def log_input(self, log: JobInputLog) -> None:
        """Put the job's input on the disk before it is sent, from now on."""
        self.input_log = log
        log.begin([InputPart(block.offset, block.data) for block in self.relayed.input_blocks()])

    def restore_input(self, log: JobInputLog | None, parts: Sequence[InputPart]) -> None:
        """Its nodes may lack these blocks of its input.  log: goes on."""
        self.input_log = log
        self.input_ended = bool(parts) and not parts[-1].data
        self._input_bytes = parts[-1].offset + len(parts[-1].data) if parts else 0
        self.relayed.restore_input([self._signer.repeat(part.offset, part.data) for part in parts])

    def fit_input(self, branch: Branch) -> None:
        """Make blocks of standard input that fit the windows of every node in the job's tree."""
        self.block_bytes = input_block_bytes(branch.most_below(), self.job.window_bytes)

    def lose(self, rank: int, reason: str) -> None:
        """Its program has ended in an unknown way; or its node is gone, and it will not begin."""
        if self.job.waits(rank):
            self._drop([rank], NotStarted(f"its node was lost while it waited for its turn: {shown_text(reason)}"))
        else:
            self.relayed.lose(messages.Finished(self.job.number, rank, Lost(shown_text(reason))))

    def lose_those_without_node(self) -> None:
        """The nodes of these ranks had left when the job began, at this master or at one before it."""
        for rank, run in enumerate(self.runs):
            if run is None and rank not in self.job.outcomes:
                self.lose(rank, "it left before the job began")

    def give_rank_to(self, node: Node) -> bool:
        """Another run of a slave has a place on which the job waits for its turn.  Returns whether it does."""
        rank = self.job.rank_at(node.place)
        if rank is None or not self.job.waits(rank):
            return False
        self.rank_on.pop(self.nonce_of.get(rank, b""), None)
        self.runs[rank] = RunOfNode(node.nonce, node.run_key)
        self.rank_on[node.nonce], self.nonce_of[rank] = rank, node.nonce
        return True

    def awaits(self, place: Place) -> bool:
        """Whether it runs on this node, and its end there would be taken at once."""
        return self.job.runs_at(place) and self.relayed.has_room

    def sign_again(self, signer: Signer) -> None:
        """Sign with the cluster's new keys: the job's ticket, its orders and what is kept of its input."""
        self.relayed.ticket = signer.sign_anew(Context.TICKET, self.relayed.ticket)
        self.orders = deque(((act, signer.sign_anew(Context.ORDER, order)) for act, order in self.orders), ORDERS_MAX)
        self.relayed.sign_input_again(self._signer.sign_again)

    async def all_is_here(self) -> None:
        """Wait for what it needs besides its bundle to go on without its client.  Raises: GprocError."""

    def let_go(self) -> None:
        """Its client has left it."""

    def release(self) -> Release:
        """What tells its nodes that it is over."""
        return self._signer.release()

    def said(self, rank: int) -> tuple[int, ...]:
        """How much of each output stream of a rank is here."""
        return self.received.said(rank)

    def start_timer(self, ran_s: float = 0.0) -> None:
        """Start the clock of its time limit, if it has one.  ran_s: for how long it runs already."""
        if self.job.request.timeout_s is not None:
            left_s = max(0.0, self.job.request.timeout_s - ran_s)
            self._timer = asyncio.get_running_loop().call_later(left_s, self._time_is_up)

    def keep_output(self, spool: JobSpool) -> None:
        """Keep the job's output from now on, and acknowledge it when it is on the disk."""
        self.spool = spool
        self.job.spooled = True
        self._credit.join(spool, (frames.FILES,))
        self.received.keep_all({})
        for (rank, stream), size in self._passed.items():
            spool.add(rank, stream, size, b"", partial(self.received.keep, rank, stream, size))  # so much came before

    def go_on(self, spool: JobSpool, sizes: Mapping[tuple[int, int], int]) -> None:
        """The job of a master that has crashed: so much of each stream is in its spool."""
        self._passed.update(sizes)
        self.spool = spool
        self._credit.join(spool, (frames.FILES,))
        self.received.continued = True
        self.received.keep_all(sizes)

    def _on_disk(self, spool: JobSpool, rank: int, stream: int, offset: int, size: int) -> None:
        """Output is there, or was dropped: the node need not keep it, and may send as much."""
        self.received.keep(rank, stream, offset + size)
        if (taken := self.received.acknowledgement(rank, stream)) is not None:
            self.relayed.acknowledge(taken)
        self.credited(spool, stream, size)

    def credited(self, taker: object, stream: int, size: int) -> None:
        """A taker has taken so much output.  Raises: PeerError if it was not given so much."""
        if more := self._credit.take(taker, stream, size):
            self.relayed.credit_from_upstream(stream, more)

    def send(self, message: messages.Message) -> None:
        if isinstance(message, messages.Credit):
            self.stdin_credit += message.bytes
            self._pass_input_credit(message)
            return
        if not isinstance(message, messages.Finished):
            if isinstance(message, OutputGone):
                skip_gone(self, message)
            elif not isinstance(message, messages.StageProgress) or message.rank not in self.job.outcomes:
                self.job.staged.note(message)
                self._say(message)
            return
        outcome = self.job.finish(message.rank, self._ending(message))
        if outcome is None:
            return
        self.unreached.end(message.rank)
        place = format_path(self.job.places[message.rank])
        log.debug("job %d: %s has ended: %s, status %d", self.job.number, place, outcome.kind, outcome.status)
        if (why := self.received.forged.get(message.rank)) is not None:
            log.warning("job %d: %s is lost: %s", self.job.number, place, why)
        if self.spool is not None:
            self.spool.finish(message.rank, outcome, self._kept_sizes(message.rank))
            if is_given_up(outcome):
                self._changed(self)
        say_ended(self, messages.Finished(self.job.number, message.rank, outcome, leaves_files=message.leaves_files))
        if self.job.over:
            self.close()
        for viewer in list(self.viewers):
            viewer.finished(message.rank, outcome)
        if self.job.window is not None:
            self._give_room(self.job.window, message.rank, outcome)

    def _kept_sizes(self, rank: int) -> tuple[int, int]:
        """Bytes of both streams that came before the spool was opened or were given to it."""
        return self.said(rank)[0], self.said(rank)[1]

    def close(self) -> None:
        """Its last rank has ended."""
        self.paced.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self.spool is not None:
            self.spool.close()
        self._ended(self)

    def _give_room(self, window: Window, rank: int, outcome: Outcome) -> None:
        """A rank has ended: the next ones may begin, or none any more."""
        window.ended(rank, failed=outcome.status != 0)
        self.shut_if_too_many_failed()
        if window and not window.is_shut:
            self._has_room(self)

    def shut_if_too_many_failed(self) -> None:
        """If it runs on so many nodes at a time, and too many have failed, no more begin."""
        window = self.job.window
        if window is not None and window.is_shut:
            who = "1 node has" if window.failed == 1 else f"{window.failed} nodes have"
            self._drop(window.drop(), NotStarted(f"not started, because {who} failed"))

    def _ending(self, finished: messages.Finished) -> Outcome:
        outcome = finished.outcome
        if finished.rank in self.unreached.regained and has_nothing(outcome, finished.said):
            assert isinstance(outcome, Refused)
            return Lost(f"its job had ended there when it was reached again: {outcome.reason}")
        return outcome

    def write(self, frame: bytes) -> None:
        """Output of a node."""
        _, rank, stream, offset, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        size = len(data)
        if self.attached is None and (self.spool is None or stream == frames.FILES):
            self.relayed.credit_from_upstream(stream, size)
            return
        self._credit.sent(stream, size)
        if stream != frames.FILES:
            self._passed[rank, stream] = offset + size
        if self.attached is not None:
            self.attached.write(frame)
        if (spool := self.spool) is not None and stream != frames.FILES:
            spool.add(rank, stream, offset, bytes(data), lambda: self._on_disk(spool, rank, stream, offset, size))

    def detach(self) -> None:
        """The client is gone, and the spool still takes the output."""
        if self.attached is None:
            return
        if self.input_from is self.attached:
            self.input_from = None
        client, self.attached, self.job.detached = self.attached, None, True
        self.relayed.credit_from_upstream(frames.FILES, UNBOUNDED_BYTES)
        for stream, size in self._credit.leave(client):
            self.relayed.credit_from_upstream(stream, size)

    def abandon(self, failure: str = "") -> None:
        """The client is gone, and the master ends the job.  failure: because of this fault of ours."""
        self.attached = self.input_from = None
        self.job.end(failure=failure)
        self.signal(signal.SIGKILL)
        for stream in streams_of(self.job.request):
            self.relayed.credit_from_upstream(stream, UNBOUNDED_BYTES)

    def _time_is_up(self) -> None:
        self.job.end(timed_out=True)
        self.signal(signal.SIGTERM)
        self._timer = asyncio.get_running_loop().call_later(GRACE_S, self.signal, signal.SIGKILL)

    def _order(self, act: Act) -> None:
        order = self._signer.order(act)
        self.orders.append((act, order))
        self._changed(self)
        self.relayed.obey(act, order)

    def inquire(self, act: ShowStacks) -> None:
        """Ask its nodes; those that cannot be reached now are not asked later."""
        self.relayed.obey(act, self._signer.order(act))

    def _pass_input_credit(self, message: messages.Credit) -> None:
        """Pass the credit on to the client that gives the job's input."""
        if self.attached is not None and self.input_from is self.attached:
            self._say(message)
        for viewer in self.viewers:
            if viewer is self.input_from:
                viewer.tell(message)

    def _say(self, message: messages.Message) -> None:
        if isinstance(message, messages.OutOfReach):
            for viewer in self.viewers:
                viewer.tell(message)
        if self.attached is None:
            return
        if isinstance(message, messages.StageProgress) and not message.complete and self.attached.congested:
            return  # it would wait in the master's memory, and the next report says more
        self.attached.send(message)
