"""Host names and groups by ClusterShell's NodeSet: the only module that imports it, which takes 45 ms.

Each operand is a NodeSet of its own, and they are combined as sets of names: NodeSet's own sums of names with several
numbers in them take the square of their count, a minute for 3,000.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache

from ClusterShell.NodeSet import ILLEGAL_GROUP_CHARS, NodeSet, NodeSetException  # type: ignore[import-untyped]
from ClusterShell.NodeUtils import (  # type: ignore[import-untyped]
    GroupResolverConfig,
    GroupResolverError,
    GroupResolverSourceError,
)

from gproc.environment import base_directory
from gproc.errors import UsageError
from gproc.naming.hosts import is_host
from gproc.naming.words import HOSTS_MAX, OURS, Operand
from gproc.shown import quoted_text


class UnknownNames(UsageError):
    """Hosts or a group that ClusterShell does not know or take."""


def names_of(operands: Sequence[Operand], elsewhere: Callable[[str], Sequence[str]]) -> list[str]:
    """All hosts, once each.  elsewhere: the names of a group of ours, by its name; asked if ClusterShell knows none.

    Raises: UnknownNames; what `elsewhere` raises.
    """
    found: dict[str, None] = {}
    for operand in operands:
        if operand.text.startswith(OURS):
            names = dict.fromkeys(elsewhere(operand.group))
        else:
            names = dict.fromkeys(_expanded(operand.text) or (elsewhere(operand.group) if operand.is_group else ()))
        match operand.operator:
            case "!":
                found = {name: None for name in found if name not in names}
            case "&":
                found = {name: None for name in found if name in names}
            case "^":
                both = found.keys() & names.keys()
                found = {name: None for name in (*found, *names) if name not in both}
            case _:
                found |= names
    return list(found)


def _expanded(text: str) -> list[str]:
    """The names of one operand; none of a group that is not known.  Raises: UnknownNames."""
    try:
        nodes = NodeSet(text, resolver=_groups())
        if len(nodes) > HOSTS_MAX:
            raise UnknownNames(f"{text} are {len(nodes)} hosts, and more than {HOSTS_MAX} are not taken at once")
        names = [str(name) for name in nodes]
    except GroupResolverSourceError as error:
        raise UnknownNames(f"{text}: ClusterShell has no source of groups {quoted_text(str(error))}") from error
    except (NodeSetException, GroupResolverError) as error:
        raise UnknownNames(f"{text}: {error}") from error
    if wrong := next((name for name in names if not is_host(name)), None):
        raise UnknownNames(f"{text}: {quoted_text(wrong)} is no name of a host")
    return names


def is_known(group: str) -> bool:
    """Whether ClusterShell has nodes in this group of its default source."""
    try:
        return bool(NodeSet(f"@{group}", resolver=_groups()))
    except (NodeSetException, GroupResolverError):
        return False


def known_groups() -> list[str]:
    """The groups of ClusterShell's default source; none if it has none."""
    try:
        return [str(name) for name in _groups().grouplist()]
    except (NodeSetException, GroupResolverError):
        return []


@cache
def _groups() -> GroupResolverConfig:
    """The groups of this machine and of the user, the last of which counts, as ClusterShell's config_paths() has it.

    Those that pip installs with ClusterShell are only examples.
    """
    of_user = base_directory(os.environ, "XDG_CONFIG_HOME", ".config", "")
    places = ["/etc/clustershell"]
    if of_user:
        places.append(os.path.join(of_user, "clustershell"))
    if "CLUSTERSHELL_CFGDIR" in os.environ:
        places.append(os.environ["CLUSTERSHELL_CFGDIR"])
    return GroupResolverConfig([os.path.join(place, "groups.conf") for place in places], ILLEGAL_GROUP_CHARS)
