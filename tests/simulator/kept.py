"""What the disk of the master says of jobs that were kept, read by the product's own rules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gproc.records.entries import END, SpoolEntry, rank_end
from gproc.records.record import JobName, KeptJob, TaskNotes
from gproc.records.spool import SpoolReader
from gproc.request.outcome import Outcome, Returned
from tests.simulator.listed import look_at_tasks
from tests.simulator.programs import output_of

if TYPE_CHECKING:
    from gproc.records.database import JobDatabase
    from tests.simulator.facts import JobFacts
    from tests.simulator.world import World


class KeptJobs:
    def __init__(self, world: World) -> None:
        self._world = world

    def has_ended(self, job: int) -> bool:
        record = self._record(job)
        return record is not None and record.state == "ended"

    def outcomes(self, job: int, *, may_be_broken: bool = False) -> dict[int, Outcome]:
        """The outcomes of the ranks whose ends are on the disk, in the record or in the spool."""
        record = self._record(job)
        found = {} if record is None else record.outcomes()
        for entry in self._entries(job, may_be_broken=may_be_broken):
            if entry.kind == END:
                found[entry.rank] = rank_end(entry).outcome
        return found

    def look(self, job: int, facts: JobFacts, outcomes: Mapping[int, Outcome]) -> None:
        """A job is over and all of it is on the disk.  outcomes: of all its ranks."""
        record = self._record(job)
        if record is None or record.state != "ended" or record.outcomes() != dict(outcomes):
            self._world.fail(f"job {job} is over: {dict(outcomes)}; its record is {record}")
        said: dict[tuple[int, int], int] = {}
        ends: dict[int, Outcome] = {}
        is_map = job in self._world.map_facts
        entries = self._entries(job)
        if is_map and record is not None:
            look_at_tasks(self._world, job, entries, outcomes, record.tasks or TaskNotes())
        for rank, kind, offset, _, data in entries:
            if kind == END:
                continue
            if is_map:
                said[rank, kind] = offset + len(data)
                continue
            got = said.get((rank, kind), offset if facts.is_late and not data else 0)
            is_next = offset >= got if facts.may_lack else offset == got
            if not is_next or data != output_of(job, rank, kind, offset, len(data)):
                self._world.fail(f"job {job} rank {rank} stream {kind}: byte {offset} is kept after byte {got}")
            said[rank, kind] = offset + len(data)
        for entry in entries:
            if entry.kind == END:
                end = rank_end(entry)
                outcome, sizes = end.outcome, end.sizes
                ends[entry.rank] = outcome
                kept = (said.get((entry.rank, 1), 0), said.get((entry.rank, 2), 0))
                is_whole = sizes == kept or facts.may_lack
                if outcome != outcomes.get(entry.rank) or (isinstance(outcome, Returned) and not is_whole):
                    self._world.fail(f"job {job} rank {entry.rank}: {outcome} of {sizes} is kept, and {kept} bytes are")
        if len(ends) < facts.size and not facts.is_late and not facts.may_lack:
            self._world.fail(f"job {job}: only the ends of {sorted(ends)} are kept")

    def look_at_what_is_left(self, job: int) -> None:
        """Check what the tasks of a job that has ended with its master did until then."""
        if job in self._world.map_facts:
            entries = self._entries(job, may_be_broken=True)
            look_at_tasks(self._world, job, entries, self.outcomes(job, may_be_broken=True), None)

    def leftovers(self, nodes: int) -> str:
        """What is on the disk although no job runs; "" if nothing."""
        database, disk = self._database, self._world.disk
        assert disk is not None
        if names := os.listdir(Path(disk.place, "input")):
            return f"the disk keeps input: {names}"
        if lives := database.lives():
            return f"the disk keeps jobs: {sorted(lives)}"
        if len(kept := database.nodes()) != nodes:
            return f"the disk has {len(kept)} nodes, and there are {nodes}"
        if running := database.running():
            return f"records of {[record.number for record in running]} say that they run"
        return ""

    @property
    def _database(self) -> JobDatabase:
        return self._world.master._book.keeper._database

    def _record(self, job: int) -> KeptJob | None:
        return self._database.find(JobName(number=job), 0, all_users=True)

    def _entries(self, job: int, *, may_be_broken: bool = False) -> list[SpoolEntry]:
        disk = self._world.disk
        assert disk is not None
        reader = SpoolReader(os.path.join(disk.place, "spool"), job)
        found: list[SpoolEntry] = []
        try:
            while entries := reader.read():
                found += entries
            if reader.broken and not may_be_broken:
                self._world.fail(f"job {job}: its spool is broken: {reader.broken}")
        finally:
            reader.close()
        return found
