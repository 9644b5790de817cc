"""The end of a job's output: lines that are still to be drawn."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from gproc.client.events import Event, Exited, Output, Skipped
from gproc.request.wording import describe
from gproc.shown import shown_text

LOG_LINES: Final = 5000
"""Lines of a log that can be scrolled back to."""

LINE_BYTES: Final = 1024
"""A longer line is drawn as several: a program may never end its line."""


class DrawnLine(NamedTuple):
    """before: whose it is, or "".  text: without characters that control a terminal.  style: of rich."""

    before: str
    text: str
    style: str = ""


class Tail:
    """Takes what a job writes, as fast as it comes, and gives it to be drawn, as fast as that goes.

    A terminal draws thousands of lines in a second, and a program writes millions.  Lines that would be scrolled out by
    those behind them are left out.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[str, bytes, str] | DrawnLine] = deque(maxlen=LOG_LINES)
        self._unfinished: dict[tuple[int, str], bytes] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def take_in(self, event: Event) -> None:
        match event:
            case Output(node, stream, data, rank):
                # What a longer beginning would have brought is scrolled out.
                *lines, rest = (self._unfinished.pop((rank, stream), b"") + data).rsplit(b"\n", LOG_LINES)
                for line in lines:
                    self._add(node, line, stream)
                ended = len(rest) - len(rest) % LINE_BYTES
                if ended:
                    self._add(node, rest[:ended], stream)
                if rest[ended:]:
                    self._unfinished[rank, stream] = rest[ended:]
            case Exited(node, outcome, rank):
                for stream in ("stdout", "stderr"):
                    if rest := self._unfinished.pop((rank, stream), b""):
                        self._add(node, rest, stream)
                if outcome.status:
                    self.say(f"{node}: {describe(outcome)}", "red")
            case Skipped(node, _, size):
                self.say(f"{node}: {size} bytes were not kept", "yellow")
            case _:
                pass

    def say(self, text: str, style: str) -> None:
        """A line of gproc's own."""
        self._lines.append(DrawnLine("", shown_text(text), style))

    def take_out(self, count: int) -> list[DrawnLine]:
        """At most `count` lines, the oldest first."""
        return [self._shown(self._lines.popleft()) for _ in range(min(count, len(self._lines)))]

    def _add(self, node: str, line: bytes, stream: str) -> None:
        for begin in range(0, len(line) or 1, LINE_BYTES):
            self._lines.append((node, line[begin : begin + LINE_BYTES], stream))

    @staticmethod
    def _shown(line: tuple[str, bytes, str] | DrawnLine) -> DrawnLine:
        if isinstance(line, DrawnLine):
            return line
        node, data, stream = line
        text = shown_text(data.decode("utf-8", "replace"), keep="\t")
        return DrawnLine(f"{node}: ", text, "red" if stream == "stderr" else "")
