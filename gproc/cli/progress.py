"""How far a transfer is: a bar on a terminal once it takes over a second, or lines of JSON for programs."""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gproc.cli.style import can_redraw, clear_line, draw_line
from gproc.client.sinks import Progress
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Place

if TYPE_CHECKING:
    import rich.progress

BAR_AFTER_S: Final = 1.0
"""A shorter transfer needs no bar."""

REFRESH_S: Final = 0.25
LINE_S: Final = 1.0
"""Seconds between two redraws of the bar, and between two lines of JSON."""

RUN_LINE_AFTER_S: Final = 2.0
"""A shorter job needs no line that says how far it is."""

RUN_LINE_S: Final = 0.5

NAMED_MAX: Final = 10
"""Up to this many nodes are named while they still run, because people look for stragglers."""

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def amounts(received_bytes: float, payload_bytes: int, rate: float | None) -> tuple[str, str]:
    """How much of the payload a node has on average, and the rate per second, both in the payload's unit."""
    power = 0
    while payload_bytes >= 1024 ** (power + 1) and power < len(UNITS) - 1:
        power += 1
    unit, digits = UNITS[power], 1 if power else 0
    size = 1024**power
    part = f"{received_bytes / size:.{digits}f}/{payload_bytes / size:.{digits}f} {unit}"
    if rate is None:
        return part, ""
    digits += (rate < size) + (rate < size / 10) if power else 0
    return part, f"{rate / size:.{digits}f} {unit}/s"


def time_text(seconds: float) -> str:
    """A time left, as 0:01:30."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class _Counted:
    """Bytes and nodes, by rank."""

    def __init__(self) -> None:
        self.nodes = 0
        self.total_bytes = 0
        self.begun_s = 0.0
        self.bundle_bytes = 0
        self._received: dict[int, int] = {}
        self._complete: set[int] = set()

    def begin(self, nodes: int, bundle_bytes: int) -> None:
        self.nodes = nodes
        self.total_bytes = nodes * bundle_bytes
        self.begun_s = time.monotonic()
        self.bundle_bytes = bundle_bytes

    def staged(self, rank: int, received_bytes: int, complete: bool) -> None:
        self._received[rank] = self.bundle_bytes if complete else min(received_bytes, self.bundle_bytes)
        if complete:
            self._complete.add(rank)

    def run(self, places: Sequence[Place], at_once: int | None, naming: Naming = PLACES) -> None:
        """See `RunLine`."""

    def ended(self, rank: int, well: bool) -> None:
        """See `RunLine`."""

    @property
    def received_bytes(self) -> int:
        return sum(self._received.values())

    @property
    def complete(self) -> int:
        return len(self._complete)

    @property
    def finished(self) -> bool:
        return self.complete >= self.nodes


class Bar(_Counted):
    """For people: a bar on stderr, until all nodes have everything.

    It shows how much of the payload a node has on average, at which rate, how many nodes have all, and the time left.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._next_s = 0.0

    def tick(self) -> float | None:
        if self.finished or not self.total_bytes:
            self._hide()
            return None
        now_s = time.monotonic()
        waited_s = now_s - self.begun_s
        if waited_s < BAR_AFTER_S:
            return BAR_AFTER_S - waited_s
        if self._shown is not None and now_s < self._next_s:
            return self._next_s - now_s
        self._next_s = now_s + REFRESH_S
        if self._shown is None:
            self._make()
        assert self._shown is not None and self._task is not None
        received = self.received_bytes / self.nodes
        speed = received / waited_s
        amount, rate = amounts(received, self.bundle_bytes, speed or None)
        left = time_text((self.bundle_bytes - received) / speed) if speed else ""
        nodes = f"{self.complete}/{self.nodes} nodes"
        self._shown.update(self._task, completed=received, amount=amount, rate=rate, nodes=nodes, left=left)
        self._shown.start()
        self._shown.refresh()
        return REFRESH_S

    def clear(self) -> None:
        self._hide()

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = None

    def _make(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            TextColumn,
        )
        from rich.progress import Progress as Columns

        self._shown = Columns(
            TextColumn("sending"), TextColumn("{task.fields[amount]}"), BarColumn(), TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[nodes]}"), TextColumn("{task.fields[left]}"),
            console=Console(file=sys.stderr), auto_refresh=False, transient=True,
        )  # fmt: skip
        self._task = self._shown.add_task("", total=self.bundle_bytes, amount="", rate="", nodes="", left="")


class JsonLines(_Counted):
    """For programs: one object per line on stderr, each second and at the end.

    bytes, total: received by all nodes together, and to be received.  nodes, complete: in all, and with everything.
    rate: bytes per second since the beginning.  left_s: at that rate, null if nothing came yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0
        self._ended = False

    def tick(self) -> float | None:
        if self._ended or not self.total_bytes:
            return None
        now_s = time.monotonic()
        if now_s >= self._next_s or self.finished:
            self._next_s = now_s + LINE_S
            self._ended = self.finished
            self._write(now_s - self.begun_s)
        return None if self._ended else max(0.0, self._next_s - now_s)

    def clear(self) -> None:
        """Nothing is done: lines need not be cleared."""

    def _write(self, elapsed_s: float) -> None:
        import json

        received = self.received_bytes
        rate = received / elapsed_s if elapsed_s > 0 else 0.0
        line = {
            "bytes": received,
            "total": self.total_bytes,
            "nodes": self.nodes,
            "complete": self.complete,
            "rate": round(rate),
            "left_s": round((self.total_bytes - received) / rate, 1) if rate else None,
        }
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()


class Silent(_Counted):
    """For callers who asked for no progress."""

    def tick(self) -> float | None:
        return None

    def clear(self) -> None:
        """Nothing is shown."""


class HowFar(Bar, ABC):
    """For people, if a job takes long: a line that says how far it is, or the bar while a large bundle is on its
    way."""

    def __init__(self) -> None:
        super().__init__()
        self.run_s: float | None = None
        """Since when the job runs, by time.monotonic(); None if there is nothing to say."""
        self._is_there = False
        self._drawn_s = -math.inf

    @abstractmethod
    def text(self) -> str:
        """What the line says.  It is empty if there is nothing more to say."""

    def tick(self) -> float | None:
        bar_s = super().tick()
        if bar_s is not None:
            return bar_s
        if self.run_s is None:
            return None
        now_s = time.monotonic()
        # There are many more steps in a job than a person reads lines, also if each brings output and clears the line.
        wait_s = max(self._drawn_s + RUN_LINE_S, self.run_s + RUN_LINE_AFTER_S) - now_s
        if wait_s > 0:
            return wait_s
        text = self.text()
        if not text:
            self.clear()
            return None
        draw_line(text)
        self._is_there, self._drawn_s = True, now_s
        return RUN_LINE_S

    def clear(self) -> None:
        super().clear()
        if self._is_there:
            self._is_there = False
            clear_line()


class RunLine(HowFar):
    """For a job on many nodes: how many are done, and which are not if they are few."""

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[int, Place] = {}
        self._all = 0
        self._at_once = NAMED_MAX
        self._naming = PLACES
        self._failed = 0

    def run(self, places: Sequence[Place], at_once: int | None, naming: Naming = PLACES) -> None:
        self._naming = naming
        if at_once is not None and at_once < len(places):
            self.total_bytes = 0  # no bar: the last node gets the bundle when its turn has come
            self._at_once = at_once
        if len(places) > 1:
            self._running = dict(enumerate(places))
            self._all = len(places)
            self.run_s = time.monotonic()

    def ended(self, rank: int, well: bool) -> None:
        if self._running.pop(rank, None) is not None:
            self._failed += not well

    def text(self) -> str:
        if not self._running:
            return ""
        return run_text(self._all, self._failed, list(self._running.values()), self._at_once, self._naming)


def run_text(
    nodes: int, failed: int, running: Sequence[Place], at_once: int = NAMED_MAX, naming: Naming = PLACES
) -> str:
    """How far a job is, in a line.  at_once: if more have not ended, some of them have not begun."""
    done = f"{nodes - len(running)} of {nodes} done" + (f", {failed} failed" if failed else "")
    if len(running) > min(NAMED_MAX, at_once):
        return done
    return f"{done}; still running: {naming.fold(running)}"


def progress_for(*, json_lines: bool, quiet: bool = False) -> Progress:
    """quiet: the terminal belongs to the program."""
    if json_lines:
        return JsonLines()
    return Silent() if quiet else on_terminal(RunLine)


def on_terminal(line: Callable[[], Progress]) -> Progress:
    """The line that this makes, if stderr is a terminal on which it can be drawn again; else nothing is shown."""
    return line() if can_redraw(sys.stderr) else Silent()
