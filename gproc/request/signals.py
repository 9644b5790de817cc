"""The signals that gproc can send to a job: one closed set, for the wire and the launcher.  Pure."""

from __future__ import annotations

import signal
from typing import Final

FORWARDED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGTERM,
        signal.SIGCONT,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGWINCH,
    }
)
"""The signals, besides SIGKILL, that a person, a terminal or a scheduler sends to programs."""


ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL})
"""Signals after which nothing of a job begins that waits for its turn."""

STOPPING: Final = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


def can_be_sent(signum: int) -> bool:
    return signum in FORWARDED or signum == signal.SIGKILL


def can_be_passed(signum: int) -> bool:
    """Whether a node's launcher takes it.  SIGSTOP comes from the node itself: `gproc.node.suspension`."""
    return can_be_sent(signum) or signum == signal.SIGSTOP
