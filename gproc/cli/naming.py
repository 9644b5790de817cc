"""What NODES means, for the command line.  If NODES has only paths of places, nothing is imported for it."""

from __future__ import annotations

from collections.abc import Sequence

from gproc.client.requests import check_nodes
from gproc.naming.naming import MeantNodes, is_plain


def meant_of_job(socket: str, nodes: Sequence[str], job: str) -> MeantNodes:
    """nodes: the words that follow a job: one, or none for all of its nodes.  Raises: as `meant_by`."""
    if not nodes:
        return MeantNodes("", "")
    meant = meant_by(socket, nodes[0], job=job)
    meant.check()
    return meant


def meant_by(socket: str, nodes: str, exclude: str = "", *, job: str = "last") -> MeantNodes:
    """job: the job for whose failed nodes `@failed` stands.

    Raises: SpecError, for "" too, which a variable of a script may be; GprocError if there are no such nodes.
    """
    if not (is_plain(nodes) and is_plain(exclude)):
        from gproc.client.resolving import resolved

        meant = resolved(socket, nodes, exclude, job=job)
        if meant.nobodys:
            from gproc.cli.stderr import complain

            complain([f"{','.join(meant.nobodys)}: to be left out, but no node is called so"])
        return meant
    check_nodes(nodes, exclude)
    return MeantNodes(nodes, exclude)
