"""`gproc get NODES:SRC DIR`: bring files and directories back from nodes, each node's into a directory of its own."""

from __future__ import annotations

from gproc.cli.options import GetOptions
from gproc.cli.progress import progress_for
from gproc.cli.stderr import complain
from gproc.client.copying import Remote, carry_out, submission, told
from gproc.client.receiving import Collected


def run(options: GetOptions) -> int:
    remote = Remote.parse(options.source)
    submit = submission(
        remote,
        action="collect",
        argv=(b"get", remote.path),
        exclude=options.exclude,
        timeout_s=options.timeout_s,
        bundle=None,
    )
    collected = Collected(options.directory)
    client, lost = carry_out(options.socket, submit, None, collected, progress_for(json_lines=False))
    for rank, outcome in client.outcomes.items():
        if outcome.status == 0 and not collected.is_whole(rank) and not collected.was_dropped(rank):
            collected.complaints.add(rank, "what it sent has no end; what is there of it is whole files")
    status, lines = told(client, lost, collected.complaints)
    complain(lines)
    return status
