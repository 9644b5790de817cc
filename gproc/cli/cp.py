"""`gproc cp SRC... NODES:DEST`: put files and directories on nodes, for good."""

from __future__ import annotations

from gproc.cli.options import CpOptions
from gproc.cli.progress import progress_for
from gproc.cli.stderr import complain
from gproc.client.complaints import Complaints
from gproc.client.copying import Remote, carry_out, submission, told
from gproc.copy.packing import pack
from gproc.errors import UsageError


def run(options: CpOptions) -> int:
    *sources, destination = options.words
    if not sources:
        raise UsageError("NODES:DEST is missing\nusage: gproc [switches] cp SRC... NODES:DEST")
    remote = Remote.parse(destination)
    bundle = pack(sources)
    submit = submission(
        remote,
        action="place",
        argv=(b"cp", remote.path),
        exclude=options.exclude,
        timeout_s=options.timeout_s,
        bundle=bundle,
    )
    complaints = Complaints()
    progress = progress_for(json_lines=options.json_progress)
    client, lost = carry_out(options.socket, submit, bundle, complaints, progress)
    status, lines = told(client, lost, complaints)
    complain(lines)
    return status
