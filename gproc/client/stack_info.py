"""Where the processes of a job are, as a value for callers: `Cluster.stacks` and `gproc stacks --json`.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from gproc.client.stack_tree import elsewhere_of, groups_of, ranks_in
from gproc.naming.naming import MeantNodes
from gproc.nodespec import Place
from gproc.shown import shown_text
from gproc.wire.job_messages import JobAnswer
from gproc.wire.stacks import JobStacks, StackRemark


class StackInfo(msgspec.Struct, frozen=True):
    """Threads at the same place.

    frames: the outermost first: the names of the programs that started one another, the functions of the program, those
    of the kernel, and last what the thread does.  threads: how many are there.  nodes: on which.
    """

    frames: tuple[str, ...]
    threads: int
    nodes: tuple[str, ...]


class StackNote(msgspec.Struct, frozen=True):
    """What these nodes do not show, and why."""

    text: str
    nodes: tuple[str, ...]


class StacksInfo(msgspec.Struct, frozen=True):
    """Where the processes of a job are.

    job: its number.  nodes: those that have answered.  elsewhere: those that are not where most are; () if no place has
    most.  stacks: in no particular order.  left_out: threads that are not shown, because there are too many.
    remarks: what nodes that have answered do not show.  silent: why the others have not answered.
    """

    job: int
    nodes: tuple[str, ...]
    elsewhere: tuple[str, ...]
    stacks: tuple[StackInfo, ...]
    left_out: int = 0
    remarks: tuple[StackNote, ...] = ()
    silent: tuple[StackNote, ...] = ()


def stacks_info(answer: JobAnswer, meant: MeantNodes) -> StacksInfo:
    """meant: how the nodes were named."""
    assert isinstance(answer, JobStacks)
    names = [meant.naming.name(Place(place)) for place in answer.places]

    def named(ranks: Iterable[int]) -> tuple[str, ...]:
        return tuple(names[rank] for rank in ranks)

    def notes(rows: Sequence[StackRemark]) -> tuple[StackNote, ...]:
        return tuple(StackNote(shown_text(row.text), named(ranks_in(row.ranks, len(names)))) for row in rows)

    return StacksInfo(
        job=answer.job,
        nodes=named(ranks_in(answer.ranks, len(names))),
        elsewhere=named(elsewhere_of(groups_of(answer))),
        stacks=tuple(
            StackInfo(row.frames, row.threads, named(ranks_in(row.ranks, len(names)))) for row in answer.rows
        ),
        left_out=answer.left_out,
        remarks=notes(answer.remarks),
        silent=notes(answer.silent),
    )
