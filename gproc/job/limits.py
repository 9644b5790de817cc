"""Bounds on a job: the same value in a command, a ticket and a start."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What a job may take on each node; None: what the node gives.

    max_procs: processes and threads.  mem_bytes: memory of the job where the node has a cgroup for it, address
    space of each process where not.  cpus: how many it may use.  nice: added to the slave's own, nice(1).
    """

    max_procs: int | None = None
    mem_bytes: int | None = None
    cpus: int | None = None
    nice: int | None = None
