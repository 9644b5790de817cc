"""`gproc get NODES:SRC DIR`: bring files and directories back from nodes, each node's into a directory of its own."""

from __future__ import annotations

from gproc.cli.options import GetOptions
from gproc.cli.progress import progress_for
from gproc.cli.stderr import complain
from gproc.client.copying import Remote, carry_out, is_remote, submission, told
from gproc.client.receiving import Collected
from gproc.errors import UsageError


def run(options: GetOptions) -> int:
    if is_remote(options.directory) and not is_remote(options.source):
        command = f"gproc cp {options.source} {options.directory}"
        raise UsageError(f"get brings files from nodes; to put {options.source} on nodes: {command}")
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
            collected.complaints.add(rank, "what it sent has no end; the files that did arrive are whole")
    status, lines = told(client, lost, collected.complaints)
    complain(lines)
    return status
