"""What NODES means, for the command line.  A command whose nodes are paths of places imports nothing for it."""

from __future__ import annotations

from gproc.client.requests import check_nodes
from gproc.naming.naming import MeantNodes, is_plain


def meant_by(socket: str, nodes: str, exclude: str = "", *, job: str = "last") -> MeantNodes:
    """job: whose failed nodes `@failed` stands for.  nodes: "" for all of that job.

    Raises: SpecError; GprocError if there are no such nodes.
    """
    if not (is_plain(nodes) and is_plain(exclude)):
        from gproc.client.resolving import resolved

        meant = resolved(socket, nodes, exclude, job=job)
        if meant.nobodys:
            from gproc.cli.stderr import complain

            complain([f"{','.join(meant.nobodys)}: to be left out, but no node is called so"])
        return meant
    if nodes:
        check_nodes(nodes, exclude)
    return MeantNodes(nodes, exclude)
