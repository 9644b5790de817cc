"""The summary of a job that has ended: how it failed, by node set, and the exit status.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gproc.client.session_job import SessionJob
from gproc.errors import EXIT_GPROC
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path
from gproc.request.outcome import Lost, Outcome
from gproc.request.wording import describe


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


def conclusion(job: SessionJob) -> tuple[int, list[str]]:
    """The same for a job that has ended.  If the master has handed out its tasks, it says what became of the tasks."""
    if job.concluded is not None:
        return job.concluded[0], list(job.concluded[1])
    return summarise(job.places, job.outcomes, job.missing, naming=job.naming)
