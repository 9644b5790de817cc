"""Bounds on a job: the same value in a command, a ticket and a start.  Pure."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

CPUS_MAX: Final = 1 << 16
"""Above CONFIG_NR_CPUS of any Linux kernel: Kconfig allows 8192 on x86."""

PROCS_MAX: Final = 1 << 22
"""PID_MAX_LIMIT of 64-bit Linux, include/linux/threads.h."""


COUNT_MAX: Final = 10**9
"""More nodes than any tree has."""

SLOTS_MAX: Final = 256
"""Tasks that run on one node at a time (`gproc map`).  Each has some six descriptors of its slave."""


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What a job may use on each node; None: as much as the node allows.

    max_procs: processes and threads.  mem_bytes: memory of the whole job if the node has a cgroup for it; if not,
    address space of each process.  cpus: how many it may use.  nice: added to the slave's own, nice(1).
    soft: the caller's own limits, as pairs of a resource's number and its soft limit, setrlimit(2); -1 is none.  The
    node's hard limits bound them.
    """

    max_procs: Annotated[int, msgspec.Meta(ge=1, le=PROCS_MAX)] | None = None
    mem_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None
    cpus: Annotated[int, msgspec.Meta(ge=1, le=CPUS_MAX)] | None = None
    nice: Annotated[int, msgspec.Meta(ge=-20, le=19)] | None = None
    soft: tuple[tuple[Annotated[int, msgspec.Meta(ge=0, lt=16)], Annotated[int, msgspec.Meta(ge=-1)]], ...] = ()
