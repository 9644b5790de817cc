"""Locale strongbox: boards of seven, with hosts cn1, cn2, ... at 10.0.0.N; every 7th is the master of its board.

Here -myParent names the master of the whole tree, so that all nodes can have the same command line.  The parent of a
node that is not a board master is always its board's master.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.errors import LocaleError
from gproc.locales import NodeAddress, Options, Parent, Placement, Role, check_number, host_number

PREFIX: Final = "cn"
BOARD: Final = 7

HIGHEST: Final = 254 // BOARD * BOARD
"""The last node of the last whole board in 10.0.0.0/24: a later node would have no board master."""


class Strongbox:
    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        own = msgspec.structs.replace(options, parent=None)
        if role is Role.MASTER:
            return own.override(Placement())
        number = host_number("strongbox", hostname, prefix=PREFIX, highest=HIGHEST)
        board, position = divmod(number, BOARD)
        if position == 0:
            return own.override(Placement(id=board, address=_address(number), parent=_master(hostname, options)))
        board_master = (board + 1) * BOARD
        parent = Parent(_address(board_master), options.cmd_port, name=f"{PREFIX}{board_master}")
        return own.override(Placement(id=position, address=_address(number), parent=parent))

    def node(self, number: int) -> NodeAddress:
        check_number("strongbox", number, highest=HIGHEST)
        return NodeAddress(f"{PREFIX}{number}", _address(number))


def _master(hostname: str, options: Options) -> Parent:
    if options.parent is None:
        raise LocaleError(f"{hostname} is a board master of locale strongbox: name the master by -myParent=HOST[:PORT]")
    master = Parent.parse(options.parent, default_port=options.cmd_port)
    return msgspec.structs.replace(master, is_master=True)


def _address(number: int) -> str:
    return f"10.0.0.{number}"
