"""A copy as a job, from the client's side: asked for, waited for, and told of."""

from __future__ import annotations

import os
from typing import NamedTuple

from gproc.client.complaints import Complaints
from gproc.client.job import Connection, JobClient, Progress, Sink
from gproc.copy.shown import shown
from gproc.copy.steps import PATH_BYTES_MAX
from gproc.errors import EXIT_GPROC, GprocError, SpecError, UsageError
from gproc.nodespec import NodeSpec
from gproc.packager import Bundle
from gproc.request.limits import Limits
from gproc.wire.messages import Action, Submit


class Remote(NamedTuple):
    """A path on nodes: `NODES:PATH`."""

    nodes: str
    path: bytes

    @classmethod
    def parse(cls, text: str) -> Remote:
        """The first colon separates the two; a path may have more of them.

        Raises: UsageError, SpecError.
        """
        nodes, colon, path = text.partition(":")
        if not colon:
            raise UsageError(f"{text!r} names no nodes: NODES:PATH is wanted, as in 1-80:/etc/motd")
        NodeSpec.parse(nodes)
        encoded = os.fsencode(path)
        if not path.startswith("/"):
            raise UsageError(f"{text!r}: an absolute path is wanted after the colon")
        if len(encoded) > PATH_BYTES_MAX or b"\0" in encoded:
            raise UsageError(f"{shown(encoded[:80])}...: is no path: the kernel takes {PATH_BYTES_MAX} bytes")
        return cls(nodes, encoded)


def is_remote(text: str) -> bool:
    """Whether a word that should be a path here looks like NODES:PATH."""
    nodes, colon, path = text.partition(":")
    if not colon or not path.startswith("/"):
        return False
    try:
        NodeSpec.parse(nodes)
    except SpecError:
        return False
    return True


def submission(
    remote: Remote, *, action: Action, argv: tuple[bytes, ...], exclude: str, timeout_s: float | None,
    bundle: Bundle | None,
) -> Submit:  # fmt: skip
    """Raises: SpecError if the exclusion is no node specification."""
    if exclude:
        NodeSpec.parse_exclusion(exclude)
    return Submit(
        nodes=remote.nodes,
        exclude=exclude,
        argv=argv,
        env=(),
        cwd=b"/",
        umask=0,
        bundle=b"" if bundle is None else bundle.digest,
        stdin=False,
        timeout_s=timeout_s,
        limits=Limits(),
        bundle_bytes=0 if bundle is None else bundle.manifest.size_bytes(),
        action=action,
    )


def carry_out(
    socket: str, submit: Submit, bundle: Bundle | None, sink: Sink, progress: Progress
) -> tuple[JobClient, GprocError | None]:
    """The client when the job is over, and why the master was lost, if it was.

    Raises: GprocError if the job did not begin.
    """
    connection = Connection(socket)
    client = JobClient(connection, submit, bundle, label=False, stdin=None, progress=progress, sink=sink)
    try:
        client.run()
    except GprocError as error:
        if not client.paths:
            raise
        return client, error
    finally:
        connection.close()
    return client, None


def told(client: JobClient, lost: GprocError | None, complaints: Complaints) -> tuple[int, list[str]]:
    """Exit status and the lines for stderr, as `gproc e` has them."""
    status, lines = complaints.told(client.outcomes, client.missing)
    if client.problem is not None:
        lines.insert(0, client.problem)
        status = max(status, EXIT_GPROC)
    if lost is not None:
        lines.insert(0, str(lost))
    return status, lines
