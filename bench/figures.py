"""The results of measurements, for people and for programs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

MB: Final = 1e6
MIB: Final = 1 << 20


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and repetitions.  The defaults are those of the budgets in docs/benchmarks.md: "80 nodes" is 4 racks of 20.

    racks, rack_size: of the tree; rack_size includes the rack master.  payload_mb: of the transfer to each node;
    output_mb: of the output from each node.  lab_hosts: the sizes of the labs, one after the other; lab_mib, lab_mbit:
    their payload and the rate of each link; clush_hosts: the sizes for which clush copies the payload too.
    tasks: of one `gproc map`.  scale_nodes: the sizes of the trees of `scale`.
    """

    runs: int = 10
    racks: int = 4
    rack_size: int = 20
    payload_mb: int = 100
    transfer_nodes: int = 40
    output_mb: int = 20
    output_nodes: int = 16
    lab_hosts: tuple[int, ...] = (10, 20, 40, 80)
    lab_mib: int = 16
    lab_mbit: int = 50
    clush_hosts: tuple[int, ...] = (10, 40)
    spawn_jobs: int = 200
    tasks: int = 5000
    scale_nodes: tuple[int, ...] = (50, 500, 5000)


QUICK: Final = Settings(
    runs=2, racks=1, rack_size=3, payload_mb=2, transfer_nodes=3, output_mb=1, output_nodes=3, lab_hosts=(2,),
    lab_mib=1, lab_mbit=200, clush_hosts=(2,), spawn_jobs=20,
    tasks=60, scale_nodes=(3, 14),
)  # fmt: skip
"""Takes seconds instead of minutes: only to see that everything runs."""


class Samples(msgspec.Struct, frozen=True):
    """The value of each repetition.  Its properties raise StatisticsError or ValueError if there are none."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def shown(self, unit: str) -> str:
        if len(self.values) == 1:
            return f"{number(self.median)} {unit}"
        return f"{number(self.median)} {unit} ({number(min(self.values))}-{number(max(self.values))})"


class Yardstick(msgspec.Struct, frozen=True):
    """The same work without gproc, on the same machine in the same run, in the same unit."""

    what: str
    measured: Samples


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity.

    budget: the aim in docs/benchmarks.md, in the same unit, on the machine of that page.
    """

    what: str
    unit: str
    measured: Samples
    yardstick: Yardstick | None = None
    budget: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.yardstick is None else self.measured.median / self.yardstick.measured.median

    def shown(self) -> str:
        lines = [f"{self.what}: {self.measured.shown(self.unit)}"]
        if self.budget is not None:
            lines.append(f"budget {number(self.budget)} {self.unit}")
        if self.yardstick is not None:
            lines.append(f"{self.ratio:.2f} x {self.yardstick.what}: {self.yardstick.measured.shown(self.unit)}")
        if self.note:
            lines.append(self.note)
        return "\n    ".join(lines)

    def cells(self) -> list[str]:
        """A row of the table in docs/benchmarks.md: what, measured, yardstick, ratio, budget."""
        cells = [self.what, self.measured.shown(self.unit), "", "", ""]
        if self.yardstick is not None:
            cells[2] = f"{self.yardstick.what}: {self.yardstick.measured.shown(self.unit)}"
            cells[3] = f"{self.ratio:.2g}"
        if self.budget is not None:
            cells[4] = f"{number(self.budget)} {self.unit}"
        return cells


class Machine(msgspec.Struct, frozen=True):
    """The machine on which figures were taken, and when.

    load: runnable processes in the minute before the measurement; well above 0 if the machine had other work.
    """

    processors: int
    kernel: str
    python: str
    load: float
    when: str

    @property
    def shown(self) -> str:
        processors = f"{self.processors} processors, load {self.load:.2f}"
        return f"{processors}, kernel {self.kernel}, Python {self.python}, {self.when}"


class Report(Machine, frozen=True, kw_only=True):
    """Figures, with the machine on which they were taken.

    missing: what cannot be measured on this machine, and why.  failed: what should have been measured, and what went
    wrong.
    """

    figures: tuple[Figure, ...]
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def as_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def as_markdown(self) -> str:
        head = ("what", "measured", "yardstick", "ratio", "budget")
        return markdown(self.shown, head, [figure.cells() for figure in self.figures])


def machine_of_now() -> Machine:
    return Machine(
        processors=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        load=os.getloadavg()[0],
        when=time.strftime("%Y-%m-%d %H:%M %Z"),
    )


def markdown(above: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as in docs/benchmarks.md, below a line of text."""
    lines = [above, "", markdown_row(head), "|" + "---|" * len(head), *map(markdown_row, rows), ""]
    return "\n".join(lines)


def markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def samples(values: list[float]) -> Samples:
    return Samples(tuple(values))


def number(value: float) -> str:
    """Three significant digits, without exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
