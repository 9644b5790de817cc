"""`gproc restart NODES`: the slaves there end and are started again."""

from __future__ import annotations

import os
import time

from gproc.cli.node_options import RestartOptions
from gproc.cli.start import at_places, in_turn, master_towards, parcels_to_send, start_nodes
from gproc.cli.trace import Trace
from gproc.start.master import port_of, tree_there
from gproc.trust.authority import open_authority
from gproc.trust.home import gproc_home


def run(options: RestartOptions) -> int:
    """The bootstrap on each node ends the slave that is there, and starts another."""
    began_s = time.monotonic()
    home = gproc_home(os.environ)
    with in_turn(home, "restart"):
        return _restart(options, home, began_s)


def _restart(options: RestartOptions, home: str, began_s: float) -> int:
    standings = at_places(home, options.nodes, options.socket)
    Trace(options.debug).step(f"restarts the slaves on {', '.join(standing.host for standing in standings)}")
    tree = tree_there(options.socket)
    master = options.address or master_towards(standings[0])
    return start_nodes(
        options, home, open_authority(home, create=False), parcels_to_send(), standings, tree, master,
        port_of(tree, options.cmd_port), began_s, afresh=True,
    )  # fmt: skip
