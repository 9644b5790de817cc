"""Bounds on a job: the same value in a command, a ticket and a start."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What a job may use on each node; None: as much as the node allows.

    max_procs: processes and threads.  mem_bytes: memory of the whole job if the node has a cgroup for it; if not,
    address space of each process.  cpus: how many it may use.  nice: added to the slave's own, nice(1).
    soft: the caller's own limits, as pairs of a resource's number and its soft limit, setrlimit(2); -1 is none.  The
    node's hard limits bound them.
    """

    max_procs: int | None = None
    mem_bytes: int | None = None
    cpus: int | None = None
    nice: int | None = None
    soft: tuple[tuple[Annotated[int, msgspec.Meta(ge=0, lt=16)], Annotated[int, msgspec.Meta(ge=-1)]], ...] = ()
