"""A command line in the manner of Globus: every switch with one dash or two, its value in the next word.  Pure.

`gfork` and `gproc-gridftp-master` both read theirs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import msgspec

from gproc.errors import UsageError
from gproc.shown import shown_text


class CommandSwitch(msgspec.Struct, frozen=True):
    """names: without dashes, the first is the one that results have.  metavar: its value; empty if it has none."""

    names: tuple[str, ...]
    metavar: str
    help: str


class BadSwitch(UsageError):
    """A word of the command line that is no switch, or a switch without its value."""


def read_switches(words: Sequence[str], switches: Sequence[CommandSwitch]) -> list[tuple[str, str]]:
    """The switches' first names and their values (empty for those without one), in their order.

    -NAME VALUE, --NAME VALUE and --NAME=VALUE are the same.  Raises: BadSwitch.
    """
    by_name = {name: switch for switch in switches for name in switch.names}
    found: list[tuple[str, str]] = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        switch = by_name.get(name)
        if switch is None or not word.startswith("-"):
            near = get_close_matches(name, by_name, n=1) if word.startswith("-") else ()
            hint = f"; did you mean -{near[0]}?" if near else "; -h shows the switches"
            raise BadSwitch(f"there is no switch {shown_text(word)}{hint}")
        if not switch.metavar and equals:
            raise BadSwitch(f"-{name} has no value")
        if switch.metavar and not equals:
            if not rest:
                raise BadSwitch(f"-{name} needs a value: -{name} {switch.metavar}")
            value = rest.pop()
        found.append((switch.names[0], value))
    return found


def help_of(usage: str, switches: Sequence[CommandSwitch]) -> str:
    """A page with a line for each switch."""
    left = {
        switch: f"  {', '.join(f'-{name}' for name in sorted(switch.names, key=len))} {switch.metavar}".rstrip()
        for switch in switches
    }
    width = min(max(map(len, left.values())), 34)
    lines = [f"{text:<{width}}  {switch.help}" if len(text) <= width else f"{text}\n{' ' * width}  {switch.help}"
             for switch, text in left.items()]  # fmt: skip
    return "\n".join([usage, *lines, ""])
