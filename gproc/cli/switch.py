"""What a switch of the command line is.  Pure."""

from __future__ import annotations

import msgspec

from gproc.cli.kinds import Kind, Offer


class Switch(msgspec.Struct, frozen=True):
    """A switch.  One or two dashes make no difference, as in the original.

    field: its field in the modes' options.  modes: letters of the modes that take it.  go: the original's spelling.
    gnu: the long spelling.  short: one letter, if the original has none.  negative: the spelling that turns a FLAG off.
    offers: what shell completion offers as its value.  instead_of: the argument that a FLAG stands for, so that it is
    not given, and those after it need not be.
    """

    field: str
    modes: tuple[str, ...]
    kind: Kind
    help: str
    gnu: str
    go: str = ""
    short: str = ""
    negative: str = ""
    metavar: str = ""
    offers: Offer = ""
    instead_of: str = ""

    def spellings(self) -> tuple[str, ...]:
        """Every name, without dashes."""
        return tuple(dict.fromkeys(name for name in (self.short, self.go, self.gnu, self.negative) if name))

    def shown(self) -> tuple[str, ...]:
        """Every name as help pages and messages write it, the original's spelling first."""
        single = tuple(f"-{name}" for name in (self.short, self.go) if name)
        return (*single, *(f"--{name}" for name in (self.gnu, self.negative) if name))
