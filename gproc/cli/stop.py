"""`gproc stop [NODES]`: end the tree, or some slaves of it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import nullcontext

from gproc.cli.by_hand import judging
from gproc.cli.node_options import StopOptions
from gproc.cli.nodes_view import NodesView, report
from gproc.cli.start import at_places, in_turn, parcels_to_send, ways_of
from gproc.cli.trace import Trace
from gproc.start.fleet import Fleet, Settings
from gproc.start.master import stop_master
from gproc.trust.authority import open_authority
from gproc.trust.home import gproc_home, home_path


def run(options: StopOptions) -> int:
    began_s = time.monotonic()
    trace = Trace(options.debug)
    if options.nodes:
        home = gproc_home(os.environ)
        with in_turn(home, "stop"):
            return _stop_some(options, home, trace, began_s)
    home = home_path(os.environ)
    # Without a home that can be written no command of this user changes a tree.
    with in_turn(home, "stop") if os.access(home, os.W_OK) else nullcontext():
        pid = stop_master(options.socket)
        trace.step(f"the master, process {pid}, has ended, and its slaves with it")
        return 0


def _stop_some(options: StopOptions, home: str, trace: Trace, began_s: float) -> int:
    standings = at_places(home, options.nodes[0], options.socket)
    trace.step(f"stops the slaves on {', '.join(standing.host for standing in standings)}")
    view = NodesView(standings, json=options.json)
    settings = Settings(master="", master_port=0, cmd_port=0, bin_root="", parallel=options.parallel)
    ways = ways_of(options, standings, view, starts=False)
    fleet = Fleet(open_authority(home, create=False), parcels_to_send(), ways, settings, {}, view)
    judged = judging(options.socket)
    try:
        results = asyncio.run(fleet.stop(standings, judged))
    finally:
        view.close()
    return report(standings, results, json=options.json, seconds=time.monotonic() - began_s)
