"""`gproc rm JOB...`: removes the records of jobs that have ended, and their output."""

from __future__ import annotations

from gproc.cli.options import RmOptions
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.client.asking import removals
from gproc.client.questions import answer_to
from gproc.errors import EXIT_GPROC
from gproc.wire.job_messages import ActedOn


def run(options: RmOptions) -> int:
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} to remove {len(options.jobs)} jobs")
    problems, status = 0, 0
    for part in removals(options.jobs):
        answer = answer_to(options.socket, lambda session, part=part: session.remove(part))  # type: ignore[misc]
        assert isinstance(answer, ActedOn)
        complain(answer.problems)
        problems += len(answer.problems)
        status = max(status, (answer.status or EXIT_GPROC) if answer.problems else 0)
    trace.step(f"{len(options.jobs) - problems} jobs are removed")
    return status
