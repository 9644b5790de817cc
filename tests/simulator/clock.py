"""An event loop whose time is a number: it sleeps by counting on.

Each callback belongs to one simulated process, which may be frozen (its callbacks wait) or dead (they are dropped).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, Final

import gproc.link.heartbeats
import gproc.master
import gproc.node.running_task
import gproc.relay.children
import gproc.relay.hub
import gproc.relay.pace
import gproc.service.outofreach
import gproc.service.ways
import gproc.slave
import gproc.trust.lease

MODULES_WITH_TIME = (
    gproc.trust.lease, gproc.slave, gproc.relay.hub, gproc.relay.children, gproc.service.ways, gproc.master,
    gproc.node.running_task, gproc.relay.pace,
)  # fmt: skip

TOGETHER_S: Final = 1e-9
"""Callbacks that are due within this time of each other happen together."""


class Process:
    """One simulated process.  All that it starts later belongs to it too."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.dead = False
        self.frozen = False
        self.parked: list[Due] = []
        self.context: Context = copy_context()
        self.context.run(_process.set, self)


_process: ContextVar[Process | None] = ContextVar("process", default=None)


class Due:
    """A callback that is due: `asyncio.Handle`, for this loop.  owner: the process that it belongs to."""

    __slots__ = ("args", "callback", "context", "gone", "owner", "when_s")

    def __init__(
        self, when_s: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.when_s = when_s
        self.callback = callback
        self.args = args
        self.gone = False
        self.context = context = copy_context() if context is None else context
        self.owner: Process | None = context.get(_process)

    def cancel(self) -> None:
        self.gone = True
        self.args = ()

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self.when_s


class VirtualLoop(asyncio.BaseEventLoop):
    """Its own queues make it twice as fast as asyncio's: a simulated fault is some fifty callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.failures: list[str] = []
        self._due: list[tuple[float, int, Due]] = []
        self._now: deque[Due] = deque()
        self._order = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self.now_s

    def add_reader(self, *_: object) -> None:
        """No descriptor is ever ready."""

    def remove_reader(self, *_: object) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Due:
        due = Due(self.now_s, callback, args, context)
        self._now.append(due)
        return due

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Due:
        due = Due(when, callback, args, context)
        self._order += 1
        heappush(self._due, (when, self._order, due))
        return due

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Due:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def create_task(self, coro: Any, **named: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **named)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the process may die before it ends
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As of a thread: `tests.simulator.disk`."""
        future: asyncio.Future[Any] = executor.call(func, *args)
        return future

    def add_signal_handler(self, *_: object) -> None:
        """No signals are sent here."""

    def run_for(self, seconds: float) -> None:
        self.call_later(seconds, self.stop)
        self.run_forever()

    def thaw(self, process: Process) -> None:
        process.frozen = False
        parked, process.parked = process.parked, []
        self._now.extend(parked)

    def _run_once(self) -> None:
        now, due = self._now, self._due
        if not now:
            while due[0][2].gone:
                heappop(due)
            self.now_s += max(0.0, due[0][0] - self.now_s)
        until_s = self.now_s + TOGETHER_S
        while due and due[0][0] < until_s:
            now.append(heappop(due)[2])
        for _ in range(len(now)):
            each = now.popleft()
            owner = each.owner
            if each.gone or (owner is not None and owner.dead):
                continue
            if owner is not None and owner.frozen:
                owner.parked.append(each)
                continue
            try:
                each.context.run(each.callback, *each.args)
            except Exception as error:  # noqa: BLE001 - as asyncio does
                self.call_exception_handler({"message": f"exception in {each.callback!r}", "exception": error})

    def close(self) -> None:
        for task in self._tasks:
            # Here, and not by the garbage collector: CPython 3.11 does not survive some that it ends.
            if not task.done() and (coroutine := task.get_coro()) is not None:
                with contextlib.suppress(RuntimeError):
                    coroutine.close()
        self._tasks.clear()
        self._due.clear()
        self._now.clear()
        super().close()

    def _failed(self, _: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context.get('message')}: {error!r}")
        if error is not None:
            self.failures[-1] += _where(error)


def _where(error: BaseException) -> str:
    trace, found = error.__traceback__, ""
    while trace is not None:
        found = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


@contextlib.contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """An attribute of a module or a class has this value meanwhile."""
    before = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def virtual_time(clock: object) -> Iterator[None]:
    """The modules of the product that look at a clock see this one, instead of `time`."""
    with contextlib.ExitStack() as stack:
        for module in MODULES_WITH_TIME:
            stack.enter_context(replaced(module, "time", clock))
        yield


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Rings of objects are looked for less often: it would be a quarter of all time."""
    before = gc.get_threshold()
    gc.set_threshold(20_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def present_process() -> Process:
    """The one that runs now."""
    process = _process.get()
    assert process is not None
    return process


def running_host() -> str:
    """The host of the process that runs now; "" if none does."""
    process = _process.get()
    return "" if process is None else process.host
