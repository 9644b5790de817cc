"""For programs that gfork runs, masters and servers of connections: docs/gfork.md, "Masters and children in Python".

    from gproc.gfork import Master, Child
"""

from gproc.adapters.gfork.peers import (
    Child,
    ChildClosed,
    ChildOpened,
    ChildSent,
    Master,
    MasterEnded,
    NotLinked,
    PeerSent,
)

__all__ = ["Child", "ChildClosed", "ChildOpened", "ChildSent", "Master", "MasterEnded", "NotLinked", "PeerSent"]
