"""`gproc restart NODES`: the slaves there end and are started again."""

from __future__ import annotations

import os
import time

from gproc.cli.node_options import RestartOptions
from gproc.cli.start import at_places, parcel_of_this_machine, start_nodes
from gproc.cli.trace import Trace
from gproc.errors import NoMaster
from gproc.start.master import address_of, address_towards, tree_of
from gproc.start.plan import name_of
from gproc.trust.authority import open_authority
from gproc.trust.home import gproc_home


def run(options: RestartOptions) -> int:
    """The bootstrap on each node ends the slave that is there, and starts another."""
    began_s = time.monotonic()
    home = gproc_home(os.environ)
    standings = at_places(home, options.nodes, options.socket)
    Trace(options.debug).step(f"restarts the slaves on {', '.join(standing.host for standing in standings)}")
    tree = tree_of(options.socket)
    if tree is None:
        raise NoMaster(options.socket, f"no master listens at {options.socket}: gproc start starts one")
    first = standings[0]
    master = options.address or address_towards(first.address or address_of(name_of(first.host)))
    return start_nodes(
        options, home, open_authority(home, create=False), parcel_of_this_machine(), standings, tree, master, began_s,
        afresh=True,
    )  # fmt: skip
