"""What a node allows its slave to do for jobs.  Pure."""

from __future__ import annotations

import msgspec


class Abilities(msgspec.Struct, frozen=True, array_like=True, tag="abilities"):
    """What this node allows the launcher to do, found by doing it once.

    view: namespaces and mounts work.  overlay: unions work too.  root: jobs run as their callers.
    reason: why `view` or `overlay` is False, as one clause; "" if both are True.
    """

    view: bool
    overlay: bool
    root: bool
    reason: str
