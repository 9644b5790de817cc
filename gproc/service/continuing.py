"""Jobs that go on although their master has crashed: what is kept of them, and how the next master takes them over.

A job can go on if it needs no client and its output is kept: it was detached, or has `--on-disconnect=detach`.  Then
the master acknowledges only what is on its disk, and tells nodes that a job is over only when its end is on the disk
too.
The next master treats such a job as one whose nodes cannot be reached: as each node comes back, it gets the same Run
once more, with the bytes that are in the spool.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gproc.nodespec import format_path
from gproc.records.present import KeptLife, KeptRun, life_in, node_in, packed_life
from gproc.records.record import KeptJob
from gproc.relay.receipt import RunOfNode
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, TimedOut
from gproc.service.jobs import JobRecord
from gproc.service.registry import Node, Registry
from gproc.trust.lease import boottime_s

if TYPE_CHECKING:
    from gproc.records.inputs import InputFiles, InputPart
    from gproc.records.keeper import RecordKeeper
    from gproc.records.positions import FoundSpool
    from gproc.records.spool import SpoolEnd, SpoolFiles
    from gproc.request.spec import Request
    from gproc.service.live import LiveJob
    from gproc.trust.ticket import Ticket
    from gproc.wire.endings import OutputGone

log = logging.getLogger("gproc")


CRASHED: Final = "it has not come back since the master crashed"


class Interrupted(NamedTuple):
    """A job whose master has crashed.  found: what is in its spool; end: where that ends.  input: what its nodes may
    lack of its standard input."""

    record: KeptJob
    life: KeptLife
    ticket: Ticket
    found: FoundSpool
    end: SpoolEnd
    input: Sequence[InputPart] = ()


def interrupted_jobs(keeper: RecordKeeper, files: SpoolFiles, inputs: InputFiles) -> list[Interrupted]:
    """The jobs that the last master has left, and that go on.  Jobs that cannot be read are lost.  Raises: OSError."""
    jobs = []
    parts = inputs.go_on([record.number for record, _ in keeper.interrupted])
    for record, data in keeper.interrupted:
        try:
            if record.number not in parts:
                raise ValueError("part of its input was not kept")
            life, ticket = life_in(data)
            found, end = files.go_on(record.number, record.uid)
        except (OSError, ValueError) as error:
            log.error("job %d cannot go on: %s", record.number, error)
            keeper.lose([record])
            inputs.remove(record.number)  # it also marks lost input: not before the record is there
            continue
        jobs.append(Interrupted(record, life, ticket, found, end, parts[record.number]))
    return jobs


def restore_nodes(registry: Registry, kept: Iterable[bytes], leases_end_s: float) -> list[Node]:
    """The nodes that the last master knew.  leases_end_s: when all of their leases have ended, by CLOCK_BOOTTIME."""
    nodes, now_s = [], boottime_s()
    for data in kept:
        try:
            node = node_in(data)
        except ValueError as error:
            log.error("what is kept of a node cannot be read: %s", error)
            continue
        nodes.append(registry.restore(node.info, node.place, node.key, leases_end_s, now_s))
    return nodes


def can_go_on(live: LiveJob) -> bool:
    """Whether it goes on if its master crashes and returns."""
    needs_nobody = (live.attached is None or live.survives) and live.has_all
    log = live.input_log
    has_input = not live.job.request.stdin or (log is not None and log.works and log.begun.is_set())
    return needs_nobody and live.received.is_kept and has_input and may_outlive(live.job.request)


def may_outlive(request: Request) -> bool:
    """Whether such a job can go on after a crash: those that bring back files, or run tasks, need their client."""
    return not request.collect and request.action == "run"


def is_all_kept(live: LiveJob) -> bool:
    """Whether all its ranks have ended, and all of its output that is kept is on the disk."""
    return live.job.over and (live.spool is None or live.spool.complete)


def life_of(live: LiveJob) -> bytes | None:
    """What another master needs to go on with it; None: it ends with this one, or all of it is on the disk."""
    if is_all_kept(live) or not can_go_on(live):
        return None
    runs = tuple(None if run is None else KeptRun(run.nonce, run.key) for run in live.runs)
    ticket, orders = live.relayed.ticket, tuple(live.orders)
    window = live.job.window
    waiting, held = ((), False) if window is None else (tuple(window), window.held)
    sizes = live.block_bytes, live.job.window_bytes
    return packed_life(KeptLife(ticket, runs, orders, live.job.killed, *sizes, waiting, held))


def job_of(interrupted: Interrupted) -> JobRecord:
    """The job, with the ranks that have ended."""
    record, ticket = interrupted.record, interrupted.ticket
    job = JobRecord(record.number, ticket.caller, ticket.request, record.places, record.started_s)
    job.nodes, job.missing, job.name = record.nodes, record.missing, record.name
    job.detached = job.spooled = True
    job.killed = interrupted.life.killed
    job.window_bytes = interrupted.life.window_bytes
    if job.window is not None:
        job.window.go_on(interrupted.life.waiting, held=interrupted.life.held)
    ends = {rank: end.outcome for rank, end in interrupted.found.ends.items()}
    for rank, outcome in {**record.outcomes(), **ends}.items():
        job.finish(rank, outcome)
        if job.window is not None:
            never_begun = isinstance(outcome, Killed) and not outcome.started
            job.window.ended(rank, failed=outcome.status != 0 and not never_begun)
    return job


def runs_of(life: KeptLife) -> Sequence[RunOfNode | None]:
    return [None if run is None else RunOfNode(run.nonce, run.key) for run in life.runs]


def fill(live: LiveJob, interrupted: Interrupted) -> None:
    """Give a job what the former master had of it."""
    found, life = interrupted.found, interrupted.life
    live.survives = live.has_all = True
    live.block_bytes = life.block_bytes
    live.orders.extend(life.orders)
    for rank, stream in found.sizes:
        digest = found.digests.get((rank, stream)) if found.is_whole(rank, stream) else None
        live.received.go_on(rank, stream, found.sizes[rank, stream], digest)
    for rank, outcome in live.job.outcomes.items():
        live.received.finish(rank)
        if is_given_up(outcome):
            live.unreached.given_up.add(rank)
    incomplete = sorted({rank for rank, stream in found.sizes if not found.is_whole(rank, stream)})
    if incomplete:
        log.warning(
            "job %d: of %d nodes part of the output is not kept any more, so it is not compared with what they sign",
            live.job.number, len(incomplete),
        )  # fmt: skip


def add_ends(live: LiveJob, interrupted: Interrupted) -> None:
    """Into its spool, of the ranks of which its record alone says how they ended."""
    assert live.spool is not None
    for rank, outcome in live.job.outcomes.items():
        if rank not in interrupted.found.ends:
            live.spool.finish(rank, outcome, interrupted.found.said(rank))


def is_given_up(outcome: Outcome) -> bool:
    """Whether the master has said that nothing runs there and nothing will: no node can say that again."""
    match outcome:
        case Killed(_, started):
            return not started
        case TimedOut(_, ending):
            return ending is None
        case _:
            return isinstance(outcome, Lost | NotStarted)


def skip_gone(live: LiveJob, gone: OutputGone) -> None:
    """This output exists no more: the disk was full, so it was not kept, and then a master crashed."""
    rank, stream, size = gone.rank, gone.stream, gone.bytes
    log.warning("job %d: %s: part of its output was not kept", live.job.number, format_path(live.job.places[rank]))
    if live.spool is not None:
        live.spool.add(rank, stream, size, b"", partial(live.received.keep, rank, stream, size))
