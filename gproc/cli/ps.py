"""`gproc ps`: the jobs that the master knows, as a table or as JSON."""

from __future__ import annotations

import os
import sys

from gproc.cli.absent import clock_text, user_of
from gproc.cli.options import PsOptions
from gproc.cli.stderr import complain
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.client.questions import job_list
from gproc.shown import command_text
from gproc.wire.job_messages import JobList, JobRow

COLUMNS = ("JOB", "NAME", "USER", "NODES", "STATE", "SINCE", "COMMAND")


def run(options: PsOptions) -> int:
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} for jobs")
    listed = job_list(options.socket, ended=options.all)
    trace.step(f"the master answered: {len(listed.jobs)} jobs")
    sys.stdout.write(as_json(listed) if options.json else as_table(listed))
    if listed.left_out:
        complain([f"{listed.left_out} older jobs are not shown"])
    return 0


def as_json(listed: JobList) -> str:
    """A list of objects, the oldest job first, each on a line of its own.

    Times are in seconds of Unix time; null if a job has not ended.  Python's encoder takes three times as long for
    10,000 jobs if it indents.
    """
    from json import JSONEncoder

    encode = JSONEncoder().encode
    jobs = [
        encode({
            "job": row.number,
            "name": row.name,
            "uid": row.uid,
            "user": user_of(row.uid),
            "nodes": row.nodes,
            "state": row.state,
            "status": row.status,
            "started": row.started_s,
            "ended": row.ended_s or None,
            "transfer": transfer_of(row),
            "command": [os.fsdecode(word) for word in row.argv],
        })
        for row in listed.jobs
    ]  # fmt: skip
    return "[" + ",\n ".join(jobs) + "]\n"


def transfer_of(row: JobRow) -> dict[str, object] | None:
    """Bytes of a job that are on their way, as JSON has them."""
    way = row.transfer
    if way is None:
        return None
    return {
        "kind": way.kind, "nodes": way.nodes, "complete": way.complete, "bytes": way.bytes,
        "total": way.total_bytes or None,
    }  # fmt: skip


def as_table(listed: JobList) -> str:
    rows = [
        (
            str(row.number),
            row.name or "-",
            user_of(row.uid),
            row.nodes,
            state_of(row),
            clock_text(row.started_s),
            command_text(row.argv),
        )
        for row in listed.jobs
    ]
    return table(COLUMNS, rows, right=("JOB",))


def state_of(row: JobRow) -> str:
    if row.state != "ended":
        return row.state
    return f"status {row.status}" if row.status else "done"
