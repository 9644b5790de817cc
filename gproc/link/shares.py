"""How the descriptors of a master or slave are divided among its connections.

    1/16 + 1/8   connections at the command port that have not identified themselves yet, and those that wait
    9/16         connections of nodes
    1/16 + 1/16  clients at the master's Unix socket, and those that wait
    1/8          jobs, the store, and what the process itself needs

Within each part, one user or host can take only some.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

from gproc.link.turns import Places

log = logging.getLogger("gproc")

NEWCOMERS_MAX: Final = 256
"""Handshakes at a time.  Each holds some 200 KB; a process completes some 300 a second, and then they are over."""

NEWCOMERS_OF_HOST_MAX: Final = 64

CLIENTS_OF_USER_MAX: Final = 256
"""Commands of one user that are served at a time: as many more wait."""


OPEN_FILES_MIN: Final = 64
"""With fewer descriptors there is no place for a single command of a user (1/64), with fewer than 32 none for a node
that comes."""


def warn_if_few() -> None:
    """Say at the start that there will be no place, because a connection that is turned away then is told nothing."""
    if (files := _open_files()) < OPEN_FILES_MIN:
        log.warning(
            "ulimit -Hn allows %d open files, and with fewer than %d connections are closed without a word: raise it "
            "(ulimit -n, limits.conf, LimitNOFILE= of a unit)", files, OPEN_FILES_MIN,
        )  # fmt: skip


def _open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def newcomers() -> Places:
    """Connections at the command port that have not identified themselves yet, by host."""
    files = _open_files()
    together = min(NEWCOMERS_MAX, files // 16)
    return Places(min(NEWCOMERS_OF_HOST_MAX, together // 2), together, files // 16, files // 8)


def nodes() -> Places:
    """Connections of nodes, by host: a child has two, a sibling in a broadcast one."""
    files = _open_files()
    return Places(files * 9 // 32, files * 9 // 16)


def clients(of_user: int | None = None) -> Places:
    """Clients, by user.  of_user: how many an administrator lets each have; None: as usual."""
    files = _open_files()
    each = min(CLIENTS_OF_USER_MAX, files // 64) if of_user is None else min(of_user, files // 16)
    return Places(each, files // 16, each, files // 16)
