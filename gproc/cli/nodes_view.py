"""What a person, or a program, sees while nodes are started and stopped: a live line and a table, lines, or JSON."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gproc.cli.style import can_redraw, clear_line, draw_line, is_terminal
from gproc.cli.table import table
from gproc.nodespec import format_path
from gproc.shown import count_text, shown_text
from gproc.start.asking import Asker
from gproc.start.node import Result, Stage
from gproc.start.plan import Standing

_REDRAW_S: Final = 0.1

_GOOD: Final = (Stage.UP, Stage.STOPPED, Stage.REMOVED)


class NodeReport(msgspec.Struct, frozen=True):
    """One node in JSON.  state: up, stopped, removed or failed.  reason: a clause; "" if there is nothing to say.

    runtime_from: the node that handed it the runtime; "" if it had it, or got it from here.
    """

    host: str
    node: str
    state: str
    reason: str
    seconds: float
    sent_bytes: int
    runtime_from: str


class NodesView:
    """On a terminal, a line that counts the nodes of each stage; else, unless `json`, a line for each finished node."""

    def __init__(self, standings: Sequence[Standing], *, json: bool) -> None:
        self._stages = {standing.host: Stage.WAITING for standing in standings}
        self._live = can_redraw(sys.stderr) and not json
        self._lines = not self._live and not json
        self._held = False
        self.asker = Asker(self.hold)
        self._drawn_s = 0.0

    def moved(self, standing: Standing, stage: Stage) -> None:
        self._stages[standing.host] = stage
        self._draw()

    def done(self, standing: Standing, result: Result) -> None:
        self._stages[standing.host] = result.stage
        if self._live and result.stage is Stage.FAILED:
            clear_line()
            print(_line(standing, result), file=sys.stderr, flush=True)
        if self._lines:
            print(_line(standing, result), file=sys.stderr, flush=True)
        self._draw()

    def hold(self, held: bool) -> None:
        """While a person is asked for something, the line is not drawn."""
        if self._live and held:
            clear_line()
        self._held = held

    def close(self) -> None:
        if self._live:
            clear_line()

    def _draw(self) -> None:
        now_s = time.monotonic()
        if not self._live or self._held or now_s - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = now_s
        counts = Counter(self._stages.values())
        text = f"{count_text(len(self._stages), 'host')}: " + ", ".join(
            f"{counts[stage]} {stage.value}" for stage in Stage if counts[stage]
        )
        draw_line(text)


def report(
    standings: Sequence[Standing], results: Mapping[str, Result], *, json: bool, master: str = "", seconds: float = 0.0
) -> int:
    """Print the end of it; the exit status: 1 if a node failed."""
    rows = [(standing, results[standing.host]) for standing in standings]
    failed = [(standing, result) for standing, result in rows if result.stage is Stage.FAILED]
    if json:
        nodes = [
            NodeReport(
                standing.host, format_path(standing.place), result.stage.value, result.reason, round(result.seconds, 3),
                result.sent_bytes, result.source,
            )
            for standing, result in rows
        ]  # fmt: skip
        content = msgspec.json.encode({"master": master, "seconds": round(seconds, 3), "nodes": nodes})
        sys.stdout.buffer.write(msgspec.json.format(content, indent=2) + b"\n")
        return 1 if failed else 0
    if failed and is_terminal(sys.stdout):
        shown = [(standing.host, format_path(standing.place), result.reason) for standing, result in failed]
        sys.stdout.write(table(("FAILED", "NODE", "WHY"), shown))
    counts = Counter(result.stage for _, result in rows)
    sent = sum(result.sent_bytes for _, result in rows)
    parts = [f"{counts[stage]} {stage.value}" for stage in (*_GOOD, Stage.FAILED) if counts[stage]]
    ending = f", {sent / 1e6:.1f} MB sent" if sent else ""
    print(f"{', '.join(parts) or 'nothing to do'} in {seconds:.1f} s{ending}", flush=True)
    return 1 if failed else 0


def _line(standing: Standing, result: Result) -> str:
    cells = (shown_text(standing.host), format_path(standing.place), result.stage.value, result.reason)
    return "\t".join(cell for cell in cells if cell)
