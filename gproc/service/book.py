"""The master's book of jobs: those that run, and the records of those that have ended."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from gproc.errors import GprocError
from gproc.policy.rules import PolicyLimits
from gproc.records.inputs import InputFiles, JobInputLog
from gproc.records.keeper import RecordKeeper
from gproc.records.place import REMEDY
from gproc.records.record import Keeping, KeptJob, endings_of, shortened
from gproc.records.rows import BriefRow, argv_of
from gproc.records.spool import SpoolBounds, SpoolFiles
from gproc.records.spooling import Spools
from gproc.records.task_lists import TaskListFile
from gproc.service.continuing import Interrupted, interrupted_jobs, is_all_kept, is_given_up, life_of
from gproc.shown import reason_of
from gproc.wire import frames
from gproc.wire.job_messages import LISTED_MAX, JobList, JobRow

if TYPE_CHECKING:
    from gproc.service.live import LiveJob


class JobBook:
    """interrupted: the jobs that this master goes on with, because the last one has crashed."""

    def __init__(self, keeper: RecordKeeper, inputs: InputFiles, interrupted: Sequence[Interrupted]) -> None:
        self.keeper = keeper
        self._inputs = inputs
        self.interrupted = interrupted

    def input_log(self, live: LiveJob) -> JobInputLog:
        """What keeps the standard input of a job for the next master."""
        keep_bytes = live.relayed.kept_input_bytes + live.job.window_bytes
        return JobInputLog(self.keeper, self._inputs, live.job.number, keep_bytes, lambda: self.note(live))

    def task_list(self) -> TaskListFile:
        """What keeps the list of a job whose tasks this master hands out."""
        return TaskListFile(self.keeper, self._inputs.place)

    def note(self, live: LiveJob) -> None:
        """A job has begun, has changed or has ended."""
        self.keeper.note(live.job.number, lambda: record_of(live), lambda: life_of(live))

    async def listed(
        self, serial: int, uid: int, lives: Collection[LiveJob], *, every: bool, ended: bool
    ) -> JobList:
        """A user's jobs, or those of all.  lives: those that have not ended.  Raises: GprocError."""
        live = {each.job.number: _live_row(each) for each in lives if every or each.job.caller.uid == uid}
        if not ended:
            rows = list(live.values())
            return JobList(serial, tuple(rows[-LISTED_MAX:]), max(0, len(rows) - LISTED_MAX))
        found, left_out = await self.keeper.newest(None if every else uid, LISTED_MAX)
        return JobList(serial, tuple(live.get(brief[0]) or _row(brief) for brief in found), left_out)

    def close(self) -> None:
        self.keeper.close()


def open_records(place: str, limits: PolicyLimits, *, goes_on: bool = False) -> tuple[JobBook, Spools]:
    """The records and spools below a directory.  goes_on: with what a master has left that crashed.

    Raises: GprocError."""
    keeper = RecordKeeper(place, keeping_of(limits), goes_on=goes_on)
    try:
        below = os.path.join(place, "spool")
        os.makedirs(below, 0o700, exist_ok=True)
        files = SpoolFiles(below, bounds_of_spools(limits, os.statvfs(below)))
        files.open(keeper.spooled())
        inputs = InputFiles(os.path.join(place, "input"))
        interrupted = interrupted_jobs(keeper, files, inputs)
    except OSError as error:
        raise GprocError(f"cannot keep output of jobs: {reason_of(error)}; {REMEDY}") from error
    spools = Spools(keeper, files)
    keeper.pruned = spools.forget
    return JobBook(keeper, inputs, interrupted), spools


def bounds_of_spools(limits: PolicyLimits, disk: os.statvfs_result) -> SpoolBounds:
    """The bounds if the policy does not name them: 1 GiB for each user, and 8 GiB or a tenth of the disk for all."""
    usual = SpoolBounds()
    each, together = limits.user_spool_mib, limits.all_spool_mib
    most = min(usual.all_bytes, disk.f_blocks * disk.f_frsize // 10) if together is None else together << 20
    return SpoolBounds(min(most, usual.each_bytes if each is None else each << 20), most)


def keeping_of(limits: PolicyLimits) -> Keeping:
    usual = Keeping()
    return Keeping(
        limits.user_records or usual.each_user, limits.all_records or usual.together, limits.record_days or usual.days
    )


def record_of(live: LiveJob) -> KeptJob:
    job = live.job
    # Not before all of its output is on the disk: if the master crashes, the next one must ask the nodes for the rest.
    ended = is_all_kept(live)
    outcomes = job.outcomes
    if live.spool is not None and not ended:
        # The spool says how the others ended, behind their output, which may not be on the disk yet.  Ends that no node
        # can say again stand here too: a full disk drops what goes into the spool, and then such a rank would begin.
        own = live.spool.ended
        outcomes = {rank: outcome for rank, outcome in outcomes.items() if rank not in own or is_given_up(outcome)}
    return KeptJob(
        number=job.number,
        name=job.name,
        uid=job.caller.uid,
        argv=shortened(job.request.argv),
        nodes=job.nodes,
        places=job.places,
        missing=job.missing,
        state="ended" if ended else "running",
        detached=job.detached,
        spooled=job.spooled,
        started_s=job.started_s,
        ended_s=job.ended_s or (time.time() if ended else 0.0),
        endings=endings_of(outcomes),
        stdout_bytes=live.received.total(frames.STDOUT),
        stderr_bytes=live.received.total(frames.STDERR),
        tasks=job.tasks,
        action=job.request.action,
    )


def _live_row(live: LiveJob) -> JobRow:
    job = live.job
    argv = shortened(job.request.argv)
    state = job.state.value
    collected_bytes = live.received.total(frames.STDOUT) if job.request.action == "collect" else 0
    begun = [rank for rank in range(len(job.places)) if not job.waits(rank)]
    transfer = job.staged.transfer(job.request, begun, job.outcomes, collected_bytes)
    return JobRow(job.number, job.name, job.caller.uid, job.nodes, state, None, job.started_s, 0.0, argv, transfer)


def _row(brief: BriefRow) -> JobRow:
    number, name, uid, argv, nodes, state, status, started_s, ended_s = brief
    return JobRow(number, name, uid, nodes, state, status, started_s, ended_s, argv_of(argv))
