"""Jobs whose records no disk has taken yet, beside those that are in the database.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gproc.records.record import JobName, KeptJob
from gproc.records.rows import BriefRow, brief_of


def newest_of(
    name: JobName, uid: int, unwritten: Collection[KeptJob], found: KeptJob | None, *, all_users: bool
) -> KeptJob | None:
    """The job that a user calls so.  found: what the database has by this name, by the same rule."""
    others = all_users and name != JobName()
    fitting = [each for each in unwritten if _is_called(each, name) and (others or each.uid == uid)]
    # `max` takes the first of equals: what is not written yet is newer than what the database has of the same job.
    known = fitting if found is None else [*fitting, found]
    return max(known, key=lambda each: (each.uid == uid, each.number), default=None)


def _is_called(record: KeptJob, name: JobName) -> bool:
    if name.number is not None:
        return record.number == name.number
    return not name.name or record.name == name.name


def with_newer(
    rows: Sequence[BriefRow], left_out: int, unwritten: Collection[KeptJob], limit: int
) -> tuple[list[BriefRow], int]:
    """The newest jobs, the oldest of them first, and how many more there are.  rows, left_out: of the database."""
    known = {row[0]: row for row in rows}
    oldest = min(known) if left_out else 0  # what is older is among those left out
    known.update({each.number: brief_of(each) for each in unwritten if each.number >= oldest})
    newest = [row for _, row in sorted(known.items())]
    cut = max(0, len(newest) - limit)
    return newest[cut:], left_out + cut
