"""An event loop whose time is a number: it sleeps by counting on.

Each callback belongs to one simulated process, which may be frozen (its callbacks wait) or dead (they are dropped).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from types import SimpleNamespace
from typing import Any

import gproc.link.heartbeats
import gproc.master
import gproc.relay.children
import gproc.relay.hub
import gproc.service.outofreach
import gproc.service.ways
import gproc.slave
import gproc.trust.lease

MODULES_WITH_TIME = (
    gproc.trust.lease, gproc.slave, gproc.relay.hub, gproc.relay.children, gproc.service.ways, gproc.master,
)  # fmt: skip


class Process:
    """One simulated process.  Whatever it starts later belongs to it too."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.dead = False
        self.frozen = False
        self.parked: list[Callable[[], None]] = []
        self.context: Context = copy_context()
        self.context.run(_process.set, self)


_process: ContextVar[Process | None] = ContextVar("process", default=None)


class _Selector:
    """Nothing ever comes from outside: to wait is to let time pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        assert timeout is not None, "nothing will ever happen again"
        self._loop.now_s += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.failures: list[str] = []
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        cell: list[asyncio.Handle] = []
        owner = _owner(context)
        if owner is None:
            return super().call_soon(callback, *args, context=context)
        handle = super().call_soon(_guarded, owner, cell, callback, args, context=context)
        cell.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        cell: list[asyncio.Handle] = []
        owner = _owner(context)
        if owner is None:
            return super().call_at(when, callback, *args, context=context)
        handle = super().call_at(when, _guarded, owner, cell, callback, args, context=context)
        cell.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def create_task(self, coro: Any, **named: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **named)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the process may die before it ends
        return task

    def add_signal_handler(self, *_: object) -> None:
        """Nobody sends signals here."""

    def run_for(self, seconds: float) -> None:
        self.call_later(seconds, self.stop)
        self.run_forever()

    def thaw(self, process: Process) -> None:
        process.frozen = False
        parked, process.parked = process.parked, []
        for callback in parked:
            super().call_soon(callback, context=process.context)

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

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


def _owner(context: Context | None) -> Process | None:
    return _process.get() if context is None else context.get(_process)


def _guarded(owner: Process, cell: list[asyncio.Handle], callback: Any, args: Any) -> None:
    if owner.dead:
        return
    if not owner.frozen:
        callback(*args)
        return

    def later() -> None:
        if not cell[0].cancelled():
            _guarded(owner, cell, callback, args)

    owner.parked.append(later)


@contextlib.contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """An attribute of a module or a class has this value meanwhile."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def virtual_time(loop: VirtualLoop) -> Iterator[None]:
    """The modules of the product that look at a clock see the loop's."""

    def now(*_: object) -> float:
        return loop.now_s

    clock = SimpleNamespace(time=now, monotonic=now, clock_gettime=now, CLOCK_BOOTTIME=7)
    with contextlib.ExitStack() as stack:
        for module in MODULES_WITH_TIME:
            stack.enter_context(replaced(module, "time", clock))
        yield
