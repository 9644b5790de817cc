"""`gproc drain [NODES]`: nodes take no new jobs, or take them again."""

from __future__ import annotations

from gproc.cli.info import drained_notes
from gproc.cli.naming import meant_by
from gproc.cli.node_options import DrainOptions
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.client.inquiry import inquire
from gproc.client.questions import answer_to
from gproc.errors import EXIT_GPROC, UsageError
from gproc.naming.naming import PLACES
from gproc.wire.job_messages import DRAIN_REASON_MAX, NodesDrained


def run(options: DrainOptions) -> int:
    trace = Trace(options.debug)
    if len(options.reason) > DRAIN_REASON_MAX:
        raise UsageError(f"--reason has {len(options.reason)} characters, and {DRAIN_REASON_MAX} are possible")
    if not options.nodes:
        if options.resume or options.reason:
            raise UsageError("say which nodes: gproc drain --resume NODES, gproc drain --reason TEXT NODES")
        trace.step(f"asks the master at {options.socket} for the tree")
        print("\n".join(drained_notes(inquire(options.socket).nodes, PLACES)) or "no node is drained")
        return 0
    if options.resume and options.reason:
        raise UsageError("--reason says why nodes are drained: leave it out with --resume")
    meant = meant_by(options.socket, options.nodes[0])
    meant.check()
    trace.step(f"asks the master at {options.socket} to {'resume' if options.resume else 'drain'} {meant.nodes}")
    answer = answer_to(
        options.socket, lambda session: session.drain(meant.nodes, options.reason, resume=options.resume)
    )
    assert isinstance(answer, NodesDrained)
    nodes = meant.naming.refold(answer.nodes)
    if options.resume:
        print(f"{nodes}: takes jobs again")
    else:
        print(f"{nodes}: drained" + (f"; jobs still run on {meant.naming.refold(answer.busy)}" if answer.busy else ""))
    if answer.missing:
        complain([f"{meant.naming.refold(answer.missing)}: not connected"])
    return EXIT_GPROC if answer.missing else 0
