"""The tasks of one job on this node (`gproc map`): each is started as a job's program is, in a view of its own.

The bundle is here once, and one ticket stands for all.  Orders come by the job's standard input (`gproc.wire.tasks`),
in which the master has signed each block; reports go by its standard output.  So a change of parent loses none.

What waits here is bounded: orders by WAITING_TASKS_MAX, output by the window of the job, for all tasks together.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
import os
import select
import signal
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from gproc.errors import GprocError, PeerError
from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.node.ended import ENDING
from gproc.node.running_task import RunningTask
from gproc.node.stdio import open_pipes
from gproc.relay.delivery import KEPT_BYTES
from gproc.request.limits import SLOTS_MAX
from gproc.request.template import CommandTooLong, Template
from gproc.shown import reason_of, shown_text
from gproc.wire.credit import quantum
from gproc.wire.tasks import (
    FAILED_MAX,
    SAID_BYTES,
    WAITING_BYTES_MAX,
    WAITING_TASKS_MAX,
    Assign,
    Recall,
    Setup,
    TaskOrder,
    TaskOrderReader,
    TaskOrders,
    TaskReport,
    TaskSaid,
    TasksReady,
    TasksReturned,
    report_record,
)

if TYPE_CHECKING:
    from gproc.launch.launcher import Process
    from gproc.node.needs import NodeServices, OnEnd
    from gproc.store.root import Root
    from gproc.trust.ticket import Ticket

log = logging.getLogger("gproc")

GRACE_S: Final = 1.0
"""Seconds between SIGTERM and SIGKILL when a task's time is up, as for a job."""

TOGETHER_S: Final = 0.02
"""Seconds for which reports wait for others while tasks wait here: each message costs every hop some 0.1 ms.  A node
gets more work before it has less than `gproc.tasks.site.LEFT_S`."""

SHORT_OF: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})
"""Errors for which a start may succeed once another task has ended."""

ANSWERS_BYTES: Final = KEPT_BYTES // 4
"""How much more may wait of answers to orders, and of ends of tasks that ran: 1 KiB for each of SLOTS_MAX."""


class TaskHost:
    """Stands in a `Program` for the process, for the reader of its input, and for the pipe of its output."""

    def __init__(
        self, services: NodeServices, ticket: Ticket, root: Root | None, added: tuple[bytes, ...], rank: int, *,
        keep_bytes: int, say: Callable[[bytes], None], consumed: Callable[[int], None], ended: OnEnd,
    ) -> None:  # fmt: skip
        """keep_bytes: how much of its reports may wait.  say: gets reports, and b"" at their end.

        consumed: gets the size of input that was read.
        ended: called once, when nothing of any task is left, after the last report.
        """
        self._services = services
        self._ticket = ticket
        self._root = root
        self._added = added
        self._say = say
        self._consumed = consumed
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._reader = TaskOrderReader(rank)
        self._template = Template(ticket.request.argv)
        self._setup: Setup | None = None
        self._queue: deque[TaskOrder] = deque()
        self._queued_bytes = 0
        self._running: dict[int, RunningTask] = {}
        """The tasks that run, by slot."""
        self._slots: list[int] = []
        """The free slots: a heap, as the lowest is taken first."""
        self._starting: asyncio.Task[None] | None = None
        self._is_heavy = ticket.request.is_heavy
        self._readable = select.epoll()
        """Has the tasks' output.  Each descriptor on the loop instead would cost ten times as much."""
        self._by_handle: dict[int, RunningTask] = {}
        self._loop.add_reader(self._readable, self._read_some)
        self._failed = 0
        self._input_ended = False
        self._stopped_by = 0
        self._failure = ""
        self._held = False
        self._is_short = False
        """Whether a start must wait until a task has ended."""
        self._plans_anew = False
        """Whether the next task has a view planned for it alone."""
        self._keep_bytes = self._credit = keep_bytes
        self._piece_bytes = min(SAID_BYTES, quantum(keep_bytes))
        """What is said at once.  It is kept until all of it is acknowledged, and so must leave room for more."""
        self._out = bytearray()
        self._flushing: asyncio.Handle | None = None
        self._leaves_files = False
        self._is_over = False

    # What the `Program` calls

    def write(self, *pieces: bytes) -> None:
        """More of the job's input, which is before any that `consumed` leads to; b"" is the end."""
        for data in pieces:
            if not data:
                self._input_ended = True
                continue
            try:
                for order in self._reader.feed(data):
                    self._obey(order)
            except PeerError as error:
                self._fail(str(error))
        self._consumed(sum(map(len, pieces)))
        self._advance()

    def close(self) -> None:
        """No input is read any more."""
        self._input_ended = True

    def credit(self, size: int) -> None:
        """This many bytes of the reports need not be kept any more."""
        had_none = self._credit <= 0
        self._credit += size
        if had_none and self._credit > 0:
            for handle in self._by_handle:
                self._readable.register(handle, select.EPOLLIN)
            self._advance()

    def processes(self) -> list[Process]:
        """The processes of the tasks that run."""
        return [each.process for each in self._running.values() if each.process is not None and each.ending is None]

    def signal(self, signum: int) -> None:
        """For every process of every task."""
        if signum in ENDING:
            self._stopped_by = signum
            self._give_back()
        elif signum in (signal.SIGSTOP, signal.SIGCONT):
            self._held = signum == signal.SIGSTOP
        for running in list(self._running.values()):
            if running.process is not None and running.ending is None:
                running.process.signal(signum)
        self._advance()

    # Orders

    def _obey(self, order: TaskOrders) -> None:
        if self._credit < -self._keep_bytes - ANSWERS_BYTES:  # each order has an answer, which waits here
            raise PeerError("it gives orders and does not read the reports")
        match order:
            case Setup(slots, _, quoted):
                if self._setup is not None:
                    raise PeerError("how tasks run was said twice")
                self._setup = order
                self._template = Template(self._ticket.request.argv, quoted=quoted)
                count = slots or self._processors()
                self._slots = list(range(1, count + 1))
                self._report(TasksReady(count))
            case Assign(tasks):
                if self._setup is None:
                    raise PeerError("a task came before it was said how tasks run")
                self._queue.extend(tasks)
                self._queued_bytes += sum(task.size_bytes for task in tasks)
                if len(self._queue) > WAITING_TASKS_MAX or self._queued_bytes > WAITING_BYTES_MAX:
                    raise PeerError("more tasks than may wait on a node")
                if self._stopped_by or self._failure:
                    self._give_back()
            case Recall():
                self._give_back(recalled=True)

    def _processors(self) -> int:
        there = len(os.sched_getaffinity(0))
        asked = self._ticket.request.limits.cpus
        return max(1, min(there, SLOTS_MAX, asked or there))

    def _give_back(self, *, recalled: bool = False) -> None:
        """The tasks that wait here are not begun."""
        numbers = tuple(task.number for task in self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        if numbers or recalled:
            self._report(TasksReturned(numbers, recalled))

    def _fail(self, reason: str) -> None:
        """The client broke the protocol: do nothing more for it."""
        if not self._failure:
            log.warning("job %d: its tasks end: %s", self._ticket.job, reason)
            self._failure = shown_text(reason)
            self._input_ended = True
            self.signal(signal.SIGKILL)

    # Starting tasks

    def _advance(self) -> None:
        """Begin what can begin; end if nothing is left to do."""
        user = self._ticket.caller.uid
        if self._may_begin() and self._starting is None and self._services.take_turn(user, heavy=self._is_heavy):
            self._begin(self._queue.popleft())
        if self._may_begin():
            if self._starting is None:
                self._starting = asyncio.create_task(self._begin_tasks())
        else:
            self._settle()

    def _may_begin(self) -> bool:
        free = self._queue and self._slots and not self._is_short
        return bool(free) and self._credit > 0 and not (self._held or self._stopped_by)

    async def _begin_tasks(self) -> None:
        try:
            while self._may_begin():
                await self._services.turn(self._ticket.caller.uid, heavy=self._is_heavy)
                if self._may_begin():
                    self._begin(self._queue.popleft())
        finally:
            self._starting = None
        self._settle()

    def _begin(self, order: TaskOrder) -> None:
        self._queued_bytes -= order.size_bytes
        running = RunningTask(order, heapq.heappop(self._slots))
        self._running[running.slot] = running
        try:
            self._spawn(running)
        except CommandTooLong:
            running.ending = SpawnFailed(0, "exec", errno.E2BIG, os.strerror(errno.E2BIG))
        except Exception as error:
            if not isinstance(error, GprocError | OSError):
                log.exception("job %d: this is a bug in gproc", self._ticket.job)
            running.ending = SpawnFailed(0, "view", getattr(error, "errno", 0) or 0, reason_of(error))
        if running.ending is not None:
            self._task_ended(running)

    def _spawn(self, running: RunningTask) -> None:
        """Raises: OSError, GprocError, CommandTooLong."""
        order, request, setup = running.order, self._ticket.request, self._setup
        assert setup is not None
        argv = self._template.command(order.values, order.number, running.slot)
        request = msgspec.structs.replace(request, argv=argv, action="run", stdin=False, timeout_s=setup.timeout_s)
        ticket = msgspec.structs.replace(self._ticket, request=request)
        added = (*self._added, b"GPROC_TASK=%d" % order.number, b"GPROC_SLOT=%d" % running.slot)
        stdio = open_pipes(stdin=False)

        def ended(ending: ProgramEnded | SpawnFailed) -> None:
            running.ending = ending
            self._task_ended(running)

        running.alike, self._plans_anew = not self._plans_anew, False
        try:
            running.process = self._services.spawn(ticket, self._root, added, stdio.program, ended, alike=running.alike)
        except BaseException:
            stdio.close_ours()
            raise
        for stream, handle in stdio.outputs.items():
            os.set_blocking(handle, False)
            running.pipes[handle] = stream
            self._by_handle[handle] = running
            if self._credit > 0:
                self._readable.register(handle, select.EPOLLIN)
        if setup.timeout_s is not None:
            running.timer = self._loop.call_later(setup.timeout_s, self._time_is_up, running)

    def _time_is_up(self, running: RunningTask) -> None:
        assert running.process is not None
        signum = signal.SIGKILL if running.timed_out else signal.SIGTERM
        running.timed_out = True
        running.process.signal(signal.SIGCONT)  # a stopped program would not see it
        running.process.signal(signum)
        if signum == signal.SIGTERM:
            running.timer = self._loop.call_later(GRACE_S, self._time_is_up, running)

    # What tasks say, and how they end

    def _read_some(self) -> None:
        for handle, _events in self._readable.poll(0):
            # The output that was read before may have ended another task.
            if (running := self._by_handle.get(handle)) is not None and self._credit > 0:
                self._read(running, handle)
                if not running.pipes:
                    self._task_ended(running)

    def _read(self, running: RunningTask, handle: int) -> bool:
        """Read once.  Returns whether there was something."""
        try:
            data = os.read(handle, min(self._piece_bytes, max(1, self._credit)))
        except BlockingIOError:
            return False
        if data:
            self._report(TaskSaid(running.order.number, running.pipes[handle], data))
            return True
        self._readable.unregister(handle)
        os.close(handle)
        del running.pipes[handle], self._by_handle[handle]
        return False

    def _task_ended(self, running: RunningTask) -> None:
        """Report the end of a task if all of it is here."""
        ending = running.ending
        if ending is None:
            return
        self._leaves_files = self._leaves_files or (isinstance(ending, ProgramEnded) and ending.left)
        for handle in list(running.pipes):
            while self._credit > 0 and self._read(running, handle):
                pass
        if running.pipes or self._running.get(running.slot) is not running:
            return
        if running.timer is not None:
            running.timer.cancel()
        del self._running[running.slot]
        heapq.heappush(self._slots, running.slot)
        self._is_short = False
        if self._comes_again(running, ending):
            self._queue.appendleft(running.order)
            self._queued_bytes += running.order.size_bytes
        else:
            report = running.end(ending, self._setup, self._stopped_by)
            self._failed += report.outcome.status != 0
            self._report(report)
        self._advance()

    def _comes_again(self, running: RunningTask, ending: ProgramEnded | SpawnFailed) -> bool:
        """Whether it was not begun, and may be yet: when another task has ended, or in a view that is planned anew."""
        if not isinstance(ending, SpawnFailed) or self._stopped_by:
            return False
        self._is_short = ending.stage != "exec" and ending.errno in SHORT_OF and bool(self._running)
        self._plans_anew = not self._is_short and ending.stage == "view" and running.alike
        return self._is_short or self._plans_anew

    # Reports

    def _report(self, report: TaskReport) -> None:
        record = report_record(report)
        if self._credit > 0 >= self._credit - len(record):
            for handle in self._by_handle:
                self._readable.unregister(handle)
        self._credit -= len(record)
        self._out += record
        if len(self._out) > self._piece_bytes:
            self._flush()
        elif not self._queue:
            self._flush_later(self._loop.call_soon(self._flush))
        elif self._flushing is None:
            self._flush_later(self._loop.call_later(TOGETHER_S, self._flush))

    def _flush_later(self, flushing: asyncio.Handle | None) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        self._flushing = flushing

    def _flush(self) -> None:
        self._flush_later(None)
        if self._out and not self._is_over:
            out, self._out = bytes(self._out), bytearray()
            for begin in range(0, len(out), self._piece_bytes):
                self._say(out[begin : begin + self._piece_bytes])

    def _settle(self) -> None:
        """End if there is nothing left to do."""
        over = self._stopped_by or (self._input_ended and not self._queue)
        if self._is_over or not over or self._running or self._starting is not None:
            return
        self._flush()
        self._loop.remove_reader(self._readable)
        self._readable.close()
        self._is_over = True
        self._say(b"")
        if self._failure:
            self._ended(SpawnFailed(0, "launcher", 0, self._failure))
        else:
            failed = min(self._failed, FAILED_MAX)
            self._ended(ProgramEnded(0, failed, self._stopped_by, False, left=self._leaves_files))

