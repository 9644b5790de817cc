"""Where the processes of a job's program on this node are, as an answer to the master's `ShowStacks`."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gproc.launch.launcher import Process
from gproc.node.processes import JobSeen, ProcessSeen, ThreadSeen, seen_below
from gproc.node.user_stacks import UserStacks, user_stacks
from gproc.request.acts import ShowStacks
from gproc.request.spec import Caller
from gproc.shown import reason_of
from gproc.wire.stacks import StackRemark, StackRow, StacksShown

ROWS_OF_NODE_MAX: Final = 256
"""Different stacks of one node: some 64 KiB, and 1 MiB at the very most."""

JOBS_OF_MAP_MAX: Final = 64
"""Tasks of one `gproc map` that are looked at."""

LOOKS_MAX: Final = 8
"""Questions that wait on a node; those beyond are not answered.  One is looked into at a time."""

_DOES: Final = {
    "R": "running", "S": "sleeping", "D": "in uninterruptible sleep", "T": "stopped", "t": "stopped by a tracer",
    "Z": "zombie", "X": "dead", "I": "idle",
}  # fmt: skip


class Looking:
    """One slave's."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._waiting = 0

    async def look(
        self, job: int, rank: int, processes: Sequence[Process], caller: Caller, act: ShowStacks
    ) -> StacksShown:
        """processes: of the job's program, or of each of its tasks."""
        ranks = ((rank, rank),)
        if self._waiting >= LOOKS_MAX:
            busy = StackRemark("the node answers other such questions", ranks)
            return StacksShown(job, act.inquiry, ranks, (), (busy,))
        self._waiting += 1
        try:
            async with self._one:
                rows, remarks, left_out = await self._looked(processes[:JOBS_OF_MAP_MAX], caller, act)
        finally:
            self._waiting -= 1
        left_out += len(processes[JOBS_OF_MAP_MAX:])
        return StacksShown(
            job, act.inquiry, ranks, tuple(StackRow(frames, count, ranks) for frames, count in rows),
            tuple(StackRemark(text, ranks) for text in remarks), left_out,
        )  # fmt: skip

    async def _looked(
        self, processes: Sequence[Process], caller: Caller, act: ShowStacks
    ) -> tuple[list[tuple[tuple[str, ...], int]], list[str], int]:
        rows: Counter[tuple[str, ...]] = Counter()
        remarks: dict[str, None] = {}
        left_out = 0
        for process in processes:
            first = await process.first()
            if not first:
                continue
            try:
                seen, stacks, said = await asyncio.to_thread(_seen, first, caller, act)
            except OSError as error:
                remarks[reason_of(error)] = None
                continue
            if await process.first() != first:
                continue  # it has ended meanwhile, and its number may be another's
            rows.update(frames_of(each, thread, stacks) for each in seen.processes for thread in each.threads)
            remarks.update(dict.fromkeys(said))
            left_out += seen.left_out
        shown = rows.most_common(ROWS_OF_NODE_MAX)
        left_out += rows.total() - sum(count for _, count in shown)
        if left_out and not rows:
            remarks["the node was too busy to look at its processes"] = None
        if os.geteuid() != 0 and rows:
            remarks["no stacks of the kernel: it shows them to a slave of root alone"] = None
        return shown, list(remarks), left_out


def _seen(first: int, caller: Caller, act: ShowStacks) -> tuple[JobSeen, UserStacks, list[str]]:
    seen = seen_below(first)
    stacks, remarks = user_stacks(seen.processes, caller, debugger=act.debugger)
    return seen, stacks, remarks


def frames_of(process: ProcessSeen, thread: ThreadSeen, stacks: UserStacks) -> tuple[str, ...]:
    """One thread's row: programs, functions of the program, functions of the kernel, what it does."""
    names = [*process.above, process.name]
    if thread.name != process.name:
        names.append(f"thread {thread.name}")
    does = _DOES.get(thread.state, f"state {thread.state}")
    if thread.wchan and not thread.kernel:
        does += f" in {thread.wchan}"
    return (*names, *stacks.get(thread.id, ()), *thread.kernel, does)
