"""`gproc rm JOB...`: removes the records of jobs that have ended, and their output."""

from __future__ import annotations

from gproc.cli.options import RmOptions
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.client.questions import answer_to
from gproc.errors import EXIT_GPROC
from gproc.wire.job_messages import ActedOn


def run(options: RmOptions) -> int:
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} to remove {len(options.jobs)} jobs")
    answer = answer_to(options.socket, lambda session: session.remove(options.jobs))
    assert isinstance(answer, ActedOn)
    problems = answer.problems
    trace.step(f"{len(options.jobs) - len(problems)} jobs are removed")
    complain(problems)
    return (answer.status or EXIT_GPROC) if problems else 0
