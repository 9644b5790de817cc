"""Jobs that the master knows, for callers that did not start them."""

from __future__ import annotations

import os
from typing import Literal, cast

import msgspec

from gproc.shown import command_text, shown_text
from gproc.wire.job_messages import ActedOn, JobAnswer, JobList, JobRow

JobStateName = Literal["running", "ending", "ended", "lost"]


class TransferInfo(msgspec.Struct, frozen=True):
    """How far the bytes of a running job are.

    kind: "program": programs and files that are sent before the job begins; "cp"; "get".  nodes: how many have a part.
    complete: how many of them are done.  bytes, total_bytes: on all nodes together; total_bytes is None if it is not
    known, as for "get".
    """

    kind: str
    nodes: int
    complete: int
    bytes: int
    total_bytes: int | None


class JobInfo(msgspec.Struct, frozen=True):
    """A job, as `gproc ps` shows it.

    name: "" if it has none.  uid: of its user.  nodes: where it runs, folded into a node specification.
    state: "ending": the master is ending it; "lost": it ran when its master ended.  returncode: what `gproc e` would
    end with; None while it runs.  started_s, ended_s: in Unix time; ended_s is None while it runs.
    args: the command; a long one is cut.  transfer: its bytes that are on their way; None: no large ones are.
    """

    number: int
    name: str
    uid: int
    nodes: str
    state: JobStateName
    returncode: int | None
    started_s: float
    ended_s: float | None
    args: tuple[str, ...]
    transfer: TransferInfo | None = None


def command_of(job: JobInfo) -> str:
    """The command as text, as a shell would read it."""
    return command_text(list(map(os.fsencode, job.args)))


def jobs_of(answer: JobAnswer) -> tuple[JobInfo, ...]:
    assert isinstance(answer, JobList)
    return tuple(map(_job_info, answer.jobs))


def problems_of(answer: JobAnswer) -> tuple[str, ...]:
    assert isinstance(answer, ActedOn)
    return answer.problems


def _job_info(row: JobRow) -> JobInfo:
    state = cast(JobStateName, row.state)
    args = tuple(map(os.fsdecode, row.argv))
    ended_s = row.ended_s or None
    way = row.transfer
    transfer = None
    if way is not None:
        transfer = TransferInfo(shown_text(way.kind), way.nodes, way.complete, way.bytes, way.total_bytes or None)
    return JobInfo(row.number, row.name, row.uid, row.nodes, state, row.status, row.started_s, ended_s, args, transfer)
