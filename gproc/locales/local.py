"""Locale local, the default: every node is on this machine, unless -myParent names a parent elsewhere."""

from __future__ import annotations

from typing import Final

from gproc.boxes import MAX_DIGITS
from gproc.locales import DEFAULT_PORT, NodeAddress, Options, Parent, Placement, Role, check_number

LOOPBACK: Final = "127.0.0.1"


class Local:
    """Ids come from the parent, in the order of arrival."""

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        if role is Role.MASTER:
            return options.override(Placement(address=LOOPBACK))
        if options.parent is not None:
            # The parent may be on another machine, and 127.0.0.1 is another machine there.
            return options.override(Placement())
        # Not options.cmd_port: the master and its slaves, on one machine, cannot all have the same port.
        return options.override(Placement(address=LOOPBACK, parent=Parent(LOOPBACK, DEFAULT_PORT, is_master=True)))

    def node(self, number: int) -> NodeAddress:
        check_number("local", number, highest=10**MAX_DIGITS - 1)
        return NodeAddress("localhost", LOOPBACK)
