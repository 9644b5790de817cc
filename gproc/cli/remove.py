"""`gproc remove NODES`: nothing of gproc is left on their hosts, and the hosts are forgotten."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from gproc.cli.node_options import RemoveOptions
from gproc.cli.nodes_view import NodesView, report
from gproc.cli.start import at_places, in_turn, parcels_to_send, ways_of
from gproc.cli.trace import Trace
from gproc.client.questions import answer_to
from gproc.errors import UsageError
from gproc.nodespec import Place, fold, format_path
from gproc.start.fleet import Fleet, Settings
from gproc.start.master import tree_of
from gproc.start.node import Stage
from gproc.start.plan import Standing
from gproc.start.register import forget, registered
from gproc.trust.authority import open_authority
from gproc.trust.home import gproc_home


def run(options: RemoveOptions) -> int:
    began_s = time.monotonic()
    home = gproc_home(os.environ)
    with in_turn(home, "remove"):
        return _remove(options, home, began_s)


def _remove(options: RemoveOptions, home: str, began_s: float) -> int:
    standings = at_places(home, options.nodes, options.socket)
    _check_children(home, standings)
    Trace(options.debug).step(f"removes gproc from {', '.join(standing.host for standing in standings)}")
    view = NodesView(standings, json=options.json)
    settings = Settings(master="", master_port=0, cmd_port=0, bin_root=options.bin_root, parallel=options.parallel)
    ways = ways_of(options, standings, view, starts=False)
    fleet = Fleet(open_authority(home, create=False), parcels_to_send(), ways, settings, {}, view)
    _give_back(options.socket, standings)
    try:
        results = asyncio.run(fleet.remove(standings))
    finally:
        view.close()
    forget(home, (each for each in standings if options.forget or results[each.host].stage is Stage.REMOVED))
    return report(standings, results, json=options.json, seconds=time.monotonic() - began_s)


def _give_back(socket_path: str, standings: Sequence[Standing]) -> None:
    """The nodes are no longer drained: if a host comes again, it comes as a new one."""
    tree = tree_of(socket_path)
    gone = {standing.name for standing in standings}
    drained = [Place(row.place) for row in tree.nodes if row.drained and row.node.name in gone] if tree else []
    if drained:
        answer_to(socket_path, lambda session: session.drain(fold(drained), "", resume=True))


def _check_children(home: str, standings: Sequence[Standing]) -> None:
    """Raises: UsageError if a node that stays has its parent among these."""
    gone = {standing.name for standing in standings}
    left = [each for each in registered(home) if each.parent in gone and each.name not in gone]
    if left:
        children = ", ".join(f"{each.host} ({format_path(each.place)})" for each in left[:20])
        raise UsageError(f"{left[0].parent} is the parent of {children}: remove these too")
