"""The summary of a job that has ended: how it failed, by node set, and the exit status."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import assert_never

from gproc.errors import EXIT_GPROC
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Refused, Returned, Signalled, TimedOut
from gproc.shown import shown_text


def describe(outcome: Outcome) -> str:
    """How it ended, in a few words; "" if all is well."""
    match outcome:
        case Returned(code):
            return f"exit status {code}" if code else ""
        case Signalled(signum, core_dumped):
            return f"killed by {name_of(signum)}" + (", core dumped" if core_dumped else "")
        case TimedOut(timeout_s):
            return f"timed out after {timeout_s:g} s"
        case Killed(signum, started):
            return f"killed by {name_of(signum)}" + ("" if started else " before it was started")
        case Lost(reason):
            return f"lost: {shown_text(reason)}"
        case Refused(reason):
            return f"refused: {shown_text(reason)}"
        case NotStarted(reason):
            return shown_text(reason)
        case _:
            assert_never(outcome)


def name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def summarise(
    paths: Sequence[Path], outcomes: Mapping[int, Outcome], missing: str, words: Mapping[int, str] | None = None,
    *, naming: Naming = PLACES,
) -> tuple[int, list[str]]:
    """The exit status of the command, which is the highest of all, and the lines for stderr: docs/reference.md.

    words: texts for some ranks, instead of those of `describe`.  naming: how nodes are called.
    """
    status = EXIT_GPROC if missing else 0
    by_ending: dict[str, list[Path]] = {}
    for rank, path in enumerate(paths):
        outcome = outcomes.get(rank) or Lost("its end was not reported")
        status = max(status, outcome.status)
        if ending := (words or {}).get(rank) or describe(outcome):
            by_ending.setdefault(ending, []).append(path)
    lines = [f"{naming.fold(failed)}: {ending}" for ending, failed in by_ending.items()]
    if missing:
        lines.append(f"{missing}: not connected")
    return status, lines
