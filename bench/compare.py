"""Another revision and this checkout, measured in turns on one machine: is anything worse than it was?

Both sides' trees run at the same time.  A turn takes each step of a measurement on one side and directly afterwards on
the other; the next turn begins with the other side.  So both sides see the same drift of the machine, and neither is
always second.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence

import msgspec

from bench import dispatch, output, slave, spawncost, transfer
from bench.checkout import Checkout, pair
from bench.figures import Machine, Settings, machine_of_now, markdown
from bench.ratio import FEWEST_TURNS, HEAD, Ratio, compared
from bench.tree import TreeFailed
from bench.trial import NotHere, Reading, Step, Trial

TRIALS: dict[str, Trial] = {
    "dispatch": dispatch.TRIAL,
    "slave": slave.TRIAL,
    "output": output.TRIAL,
    "transfer": transfer.TRIAL,
    "spawn": spawncost.TRIAL,
}

Pair = tuple[Checkout, Checkout]
"""The other revision, then this checkout."""


class Comparison(Machine, frozen=True, kw_only=True):
    """The result of a comparison, with its machine.

    ref, this: the two sides, with their commits.  missing: what cannot be measured on this machine, or only on one
    side, and why.  failed: what should have been measured, and what went wrong.
    """

    ref: str
    this: str
    ratios: tuple[Ratio, ...]
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def worse(self) -> list[str]:
        return [ratio.what for ratio in self.ratios if ratio.word == "worse"]

    def as_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def as_markdown(self) -> str:
        return markdown(f"{self.this} beside {self.ref}; {self.shown}", HEAD, [ratio.cells() for ratio in self.ratios])


def compare(ref: str, names: Sequence[str], settings: Settings, turns: int | None) -> Comparison:
    """Measure, and print each measurement's table when it is complete.  turns: None for each one's own number.

    Raises: CheckoutFailed.
    """
    machine = machine_of_now()
    ratios: list[Ratio] = []
    missing: list[str] = []
    failed: list[str] = []
    with pair(ref) as sides:
        print(f"{machine.shown}\nREF: {sides[0].name}; this: {sides[1].name}")
        for name in names:
            trial = TRIALS[name]
            count = turns or trial.turns
            print(f"\n[{name}] {count} turns", flush=True)
            try:
                found, left_out = in_turns(sides, trial, settings, count)
            except NotHere as error:
                missing.append(f"{name}: {error}")
                print(f"not measured: {error}", flush=True)
            except (TreeFailed, OSError, ValueError, subprocess.SubprocessError) as error:
                failed.append(f"{name}: {error}")
                print(f"failed: {error}", flush=True)
            else:
                ratios += found
                missing += [f"{name}: {reason}" for reason in left_out]
                print("\n".join([*lines(found), *left_out]), flush=True)
        comparison = Comparison(
            **msgspec.structs.asdict(machine), ref=sides[0].name, this=sides[1].name, ratios=tuple(ratios),
            missing=tuple(missing), failed=tuple(failed),
        )  # fmt: skip
    print(f"\n{_summary(comparison)}")
    return comparison


def in_turns(sides: Pair, trial: Trial, settings: Settings, turns: int) -> tuple[list[Ratio], list[str]]:
    """Take a trial's steps on both sides.  Returns the figures that both have, and why others are left out."""
    found: tuple[list[Reading], list[Reading]] = ([], [])
    for first in range(0, turns, trial.turns_of_a_tree):
        with _both(sides, trial, settings, first // trial.turns_of_a_tree) as steps:
            for turn in range(first, min(first + trial.turns_of_a_tree, turns)):
                for which in range(len(steps[0])):
                    for side in _order(turn):
                        with _named(sides[side]):
                            found[side].extend(steps[side][which]())
    return paired(found[0], found[1], (sides[0].name, sides[1].name))


def paired(ref: list[Reading], this: list[Reading], names: tuple[str, str]) -> tuple[list[Ratio], list[str]]:
    """The figures from the readings of both sides, which are in the order of the turns; and why others are left out."""
    ratios, left_out = [], []
    units = {reading.what: reading.unit for reading in [*this, *ref]}
    for what, unit in units.items():
        values = [[reading.value for reading in side if reading.what == what] for side in (ref, this)]
        if len(values[0]) == len(values[1]):
            ratios.append(compared(what, unit, *values))
        else:
            left_out.append(f"{what}: {_asymmetry(len(values[0]), len(values[1]), names)}")
    return ratios, left_out


def _asymmetry(ref: int, this: int, names: tuple[str, str]) -> str:
    if not ref or not this:
        return f"only {names[0] if ref else names[1]} has it"
    return f"{names[0]} has it {ref} times, {names[1]} {this} times"


@contextlib.contextmanager
def _both(sides: Pair, trial: Trial, settings: Settings, turn: int) -> Iterator[list[Sequence[Step]]]:
    """The steps of each side; the processes of both sides run meanwhile."""
    steps: list[Sequence[Step]] = [(), ()]
    with contextlib.ExitStack() as running:
        for side in _order(turn):
            with _named(sides[side]):
                steps[side] = running.enter_context(trial.steps(sides[side], settings))
        yield steps


def _order(turn: int) -> tuple[int, int]:
    """The side that goes first, then the other; they alternate."""
    return (1, 0) if turn % 2 else (0, 1)


@contextlib.contextmanager
def _named(side: Checkout) -> Iterator[None]:
    """Put the side's name before the message of a failure."""
    try:
        yield
    except TreeFailed as error:
        raise TreeFailed(f"{side.name}: {error}") from error


def lines(ratios: list[Ratio]) -> list[str]:
    """A table for people, with texts aligned left and numbers right."""
    rows = [HEAD, *(ratio.cells() for ratio in ratios)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    shown = []
    for what, *numbers, word in rows:
        right = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
        shown.append("  ".join([what.ljust(widths[0]), *right, word]).rstrip())
    return shown


def _summary(comparison: Comparison) -> str:
    if any(ratio.word == "too few turns" for ratio in comparison.ratios):
        return f"fewer than {FEWEST_TURNS} turns: nothing can be called better or worse"
    worse = comparison.worse
    lines = ["worse:", *worse] if worse else ["nothing that was measured is worse beyond the spread"]
    if comparison.failed:
        lines += ["not measured:", *comparison.failed]
    return "\n".join(lines)
