"""`gproc kill [-s SIGNAL] JOB [NODES]`: sends a signal to all processes of a job."""

from __future__ import annotations

from gproc.cli.naming import meant_of_job
from gproc.cli.options import KillOptions
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.client.questions import answer_to
from gproc.request.wording import name_of
from gproc.wire.job_messages import ActedOn


def run(options: KillOptions) -> int:
    meant = meant_of_job(options.socket, options.nodes, options.job)
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} to send {name_of(options.signal)} to job {options.job}")
    answer = answer_to(options.socket, lambda session: session.kill(options.job, options.signal, meant.nodes))
    trace.step("it is sent")
    assert isinstance(answer, ActedOn)
    complain(answer.problems)
    return answer.status
