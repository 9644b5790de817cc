"""The ways in which `gproc e` shows the output of many nodes, as sinks."""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from gproc.cli.style import LABEL_COLOURS, PLAIN, bold
from gproc.cli.writing import DESCRIPTORS, Writing
from gproc.client.events import Stream
from gproc.client.lines import Lines
from gproc.client.merging import Merged, Reached
from gproc.client.sinks import Sink
from gproc.descriptors import write_all
from gproc.naming.naming import Naming
from gproc.nodespec import Place
from gproc.request.outcome import Outcome

if TYPE_CHECKING:
    from gproc.cli.hints import EqualOutput

DIFF_BYTES: Final = 1 << 20
"""Longer outputs are shown whole instead of as a difference: comparing costs the square of the number of lines."""

DIFF_LINES: Final = 4000

LOOKS: Final = 50
"""About how often all groups are looked at during a job: once for each node would be too much for 5,000 nodes."""


class Showing(Sink, Protocol):
    """A sink that is told of each node's end too."""

    def ended(self, rank: int, outcome: Outcome) -> None:
        """All output of this node has come."""


def labels_of(places: Sequence[Place], naming: Naming, *, coloured: bool) -> list[bytes]:
    """What begins each line of a node, by rank."""
    names = [naming.name(place) for place in places]
    if not coloured:
        return [f"{name}: ".encode() for name in names]
    return [f"{LABEL_COLOURS[rank % len(LABEL_COLOURS)]}{name}:{PLAIN} ".encode() for rank, name in enumerate(names)]


class AsItComes:
    """Show whole lines, as they come.  label: begin each with its node."""

    def __init__(self, writing: Writing, *, label: bool, coloured: bool, equal: EqualOutput | None) -> None:
        self._writing = writing
        self._label = label
        self._coloured = coloured
        self._equal = equal
        self._lines: dict[Stream, Lines] = {}

    def begin(self, places: Sequence[Place]) -> None:
        labels = labels_of(places, self._writing.naming, coloured=self._coloured) if self._label else None
        for stream in DESCRIPTORS:
            self._lines[stream] = Lines(len(places), labels)
        if self._equal is not None:
            self._equal.begin(len(places))

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        if self._equal is not None and stream == "stdout":
            self._equal.feed(rank, data)
        self._writing.write_all(stream, self._lines[stream].feed(rank, data))

    def ended(self, rank: int, outcome: Outcome) -> None:
        pass

    def finish(self) -> None:
        for stream, lines in self._lines.items():
            self._writing.write_all(stream, lines.finish())
        if self._equal is not None:
            self._equal.finish()


class Delayed(ABC):
    """Output that is shown when it is complete.

    errors_too: standard error is kept as well; if not, its lines are shown at once, with their nodes.
    """

    def __init__(self, writing: Writing, *, coloured: bool, errors_too: bool) -> None:
        self.writing = writing
        self.coloured = coloured
        self.places: Sequence[Place] = ()
        self.merged: dict[Stream, Merged] = {"stdout": Merged()}
        if errors_too:
            self.merged["stderr"] = Merged()
        self._errors: Lines | None = None

    def begin(self, places: Sequence[Place]) -> None:
        self.places = places
        if "stderr" not in self.merged:
            labels = labels_of(places, self.writing.naming, coloured=self.coloured) if len(places) > 1 else None
            self._errors = Lines(len(places), labels)

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        if (merged := self.merged.get(stream)) is None:
            assert self._errors is not None
            self.writing.write_all("stderr", self._errors.feed(rank, data))
            return
        try:
            merged.feed(rank, data)
        except OSError as error:
            self.writing.fail_keeping(error)

    def finish(self) -> None:
        try:
            self.show()
        except OSError as error:
            self.writing.fail(f"cannot read the nodes' output from a temporary file: {error.strerror}")
        if self._errors is not None:
            self.writing.write_all("stderr", self._errors.finish())
        for merged in self.merged.values():
            merged.close()

    @abstractmethod
    def show(self) -> None:
        """Write what is kept.  Raises: OSError if it cannot be read."""


class Gathered(Delayed):
    """Nodes with the same output once, below a line with their names and number.

    live: as soon as no other node can join them.  diff: all but the largest group as differences from it.
    """

    def __init__(self, writing: Writing, *, coloured: bool, errors_too: bool, live: bool, diff: bool) -> None:
        super().__init__(writing, coloured=coloured, errors_too=errors_too)
        self._live = live
        self._diff = diff
        self._running: set[int] = set()
        self._waiting: dict[tuple[Stream, Reached], list[int]] = {}
        """With `live`: the groups so far of nodes that have ended, as long as they are not shown."""
        self._shown: set[tuple[Stream, Reached]] = set()
        self._changes = 0

    def begin(self, places: Sequence[Place]) -> None:
        super().begin(places)
        self._running.update(range(len(places)))

    def ended(self, rank: int, outcome: Outcome) -> None:
        self._running.discard(rank)
        if self._live:
            for stream, merged in self.merged.items():
                if (position := merged.position(rank)).offset:
                    self._waiting.setdefault((stream, position), []).append(rank)
            self._changed()

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        super().output(rank, stream, data)
        self._changed()

    def _changed(self) -> None:
        """A node has ended or said more, so some groups may be complete."""
        self._changes += 1
        if self._waiting and self._changes * LOOKS >= len(self._running):
            self._changes = 0
            self._show_complete()

    def show(self) -> None:
        for stream, merged in self.merged.items():
            groups = self._sorted(merged.groups(range(len(self.places))))
            if self._diff:
                self._show_differences(stream, merged, groups)
                continue
            for position, ranks in groups:
                if (stream, position) not in self._shown:
                    self._show(stream, position, ranks)

    def _show_complete(self) -> None:
        """Show the groups that no node can join any more."""
        to_come = {stream: {merged.position(rank) for rank in self._running} for stream, merged in self.merged.items()}
        complete = [key for key in self._waiting if not any(position.leads_to(key[1]) for position in to_come[key[0]])]
        for key in sorted(complete, key=lambda key: self.places[min(self._waiting[key])]):
            self._shown.add(key)
            self._show(*key, self._waiting.pop(key))

    def _sorted(self, groups: dict[Reached, list[int]]) -> list[tuple[Reached, list[int]]]:
        return sorted(groups.items(), key=lambda group: self.places[min(group[1])])

    def _show(self, stream: Stream, position: Reached, ranks: Sequence[int]) -> None:
        self._head(stream, ranks)
        self._whole(stream, self.merged[stream].content(position))

    def _head(self, stream: Stream, ranks: Sequence[int], note: str = "") -> None:
        names = self._names(ranks)
        count = f" ({len(ranks)})" if len(ranks) > 1 else ""
        line = bold(f"{names}{count}{note}:", coloured=self.coloured)
        self.writing.write(stream, f"{line}\n".encode())

    def _names(self, ranks: Sequence[int]) -> str:
        return self.writing.naming.fold(self.places[rank] for rank in ranks)

    def _whole(self, stream: Stream, pieces: Iterator[bytes]) -> None:
        last = b"\n"
        for last in pieces:
            self.writing.write(stream, last)
        if not last.endswith(b"\n"):
            self.writing.write(stream, b"\n")  # the next head begins a line

    def _show_differences(self, stream: Stream, merged: Merged, groups: Sequence[tuple[Reached, list[int]]]) -> None:
        if not groups:
            return
        largest = max(groups, key=lambda group: len(group[1]))
        self._show(stream, *largest)
        for position, ranks in groups:
            if position == largest[0]:
                continue
            lines = self._difference(merged, largest[0], position)
            if lines is None:
                self._show(stream, position, ranks)
            else:
                self._head(stream, ranks, f" differs from {self._names(largest[1])}")
                self._whole(stream, iter(lines))

    def _difference(self, merged: Merged, one: Reached, other: Reached) -> list[bytes] | None:
        """What is not in both, as of diff -u without its head; None: too much to compare."""
        from difflib import diff_bytes, unified_diff

        if max(one.offset, other.offset) > DIFF_BYTES:
            return None
        ours, theirs = (lines_of(b"".join(merged.content(position))) for position in (one, other))
        if max(len(ours), len(theirs)) > DIFF_LINES:
            return None
        return list(diff_bytes(unified_diff, ours, theirs, n=1))[2:] or [b"(only the newline at the end)\n"]


def lines_of(text: bytes) -> list[bytes]:
    """Lines as diff(1) has them: each ends with a newline."""
    return [line + b"\n" for line in text.removesuffix(b"\n").split(b"\n")]


class Sorted(Delayed):
    """Each node's output whole, in the order of the nodes.  label: begin each line with its node."""

    def __init__(self, writing: Writing, *, coloured: bool, label: bool) -> None:
        super().__init__(writing, coloured=coloured, errors_too=True)
        self._label = label

    def ended(self, rank: int, outcome: Outcome) -> None:
        pass

    def show(self) -> None:
        labels = labels_of(self.places, self.writing.naming, coloured=self.coloured)
        for stream, merged in self.merged.items():
            for rank in sorted(range(len(self.places)), key=lambda rank: self.places[rank]):
                lines = Lines(1, [labels[rank]] if self._label else None)
                for piece in merged.content(merged.position(rank)):
                    self.writing.write_all(stream, lines.feed(0, piece))
                self.writing.write_all(stream, lines.finish())


class IntoFiles:
    """A file for each node and stream below a directory: NODE.out and NODE.err, with dots in the node's path."""

    def __init__(self, writing: Writing, directory: str) -> None:
        """Raises: OSError if there is no such directory and it cannot be made."""
        os.makedirs(directory, exist_ok=True)
        self._writing = writing
        self._directory = directory
        self._stems: list[str] = []

    def begin(self, places: Sequence[Place]) -> None:
        self._stems = [self._writing.naming.file_name(place) for place in places]
        for rank in range(len(places)):
            for stream in DESCRIPTORS:
                self._add(rank, stream, b"", os.O_TRUNC)

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        self._add(rank, stream, data, os.O_APPEND)

    def ended(self, rank: int, outcome: Outcome) -> None:
        pass

    def finish(self) -> None:
        pass

    def _add(self, rank: int, stream: Stream, data: bytes | memoryview, how: int) -> None:
        """Files are not kept open: there may be more of them than descriptors."""
        path = os.path.join(self._directory, f"{self._stems[rank]}.{'out' if stream == 'stdout' else 'err'}")
        try:
            # A FIFO would keep us in open(2), where no signal's handler runs, until a process reads it.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | how, 0o666)
            try:
                if stat.S_ISFIFO(os.fstat(handle).st_mode):
                    raise OSError(errno.ENXIO, "")
                write_all(handle, data)
            finally:
                os.close(handle)
        except OSError as error:
            why = "it is no file, and one is wanted" if error.errno == errno.ENXIO else error.strerror
            self._writing.fail(f"cannot write {path}: {why}")
