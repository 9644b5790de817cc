"""The signals that a job can be sent: one closed set, on the wire and at the launcher."""

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
"""What the programs of a job can be sent, SIGKILL aside: what a person, a terminal or a scheduler sends."""


def can_be_sent(signum: int) -> bool:
    return signum in FORWARDED or signum == signal.SIGKILL
