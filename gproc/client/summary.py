"""What a person is told when a job is over: who failed and how, by node set, and the exit status."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from gproc.errors import EXIT_GPROC, EXIT_TIMED_OUT
from gproc.nodespec import Path, fold
from gproc.wire.messages import Outcome


def describe(outcome: Outcome) -> str:
    """How it ended, in a few words; "" where all is well."""
    if outcome.failure:
        return f"lost: {outcome.failure}" if outcome.lost else outcome.failure
    if outcome.status == EXIT_TIMED_OUT and outcome.signal:
        return "timed out"
    if outcome.signal:
        return f"killed by {name_of(outcome.signal)}" + (", core dumped" if outcome.core_dumped else "")
    return f"exit status {outcome.status}" if outcome.status else ""


def name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def summarise(paths: Sequence[Path], outcomes: Mapping[int, Outcome], missing: str) -> tuple[int, list[str]]:
    """Exit status and the lines for stderr: DESIGN section 10."""
    status = EXIT_GPROC if missing else 0
    by_ending: dict[str, list[Path]] = {}
    for rank, path in enumerate(paths):
        outcome = outcomes.get(rank)
        if outcome is None:
            outcome = Outcome(EXIT_GPROC, failure="nothing was heard of its end", lost=True)
        status = max(status, outcome.status)
        if ending := describe(outcome):
            by_ending.setdefault(ending, []).append(path)
    lines = [f"{fold(failed)}: {ending}" for ending, failed in by_ending.items()]
    if missing:
        lines.append(f"{missing}: not connected")
    return status, lines
