"""How a job ended on this node, from what its launcher says."""

from __future__ import annotations

import errno
import signal
from typing import Final

from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.request.outcome import Killed, NotStarted, Outcome, Returned, Signalled
from gproc.shown import shown_text

ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL})
"""Signals that end a job whose program does not run yet, and after which no task begins."""

_NOT_EXECUTABLE: Final = (errno.EACCES, errno.ENOEXEC, errno.EPERM, errno.ELOOP, errno.ELIBBAD, errno.EISDIR)


def outcome_of(ending: ProgramEnded | SpawnFailed, *, killed_by: int = 0) -> Outcome:
    """killed_by: the signal with which the job's caller ended it; 0: none."""
    if isinstance(ending, ProgramEnded):
        if not ending.signal:
            return Returned(ending.code)
        if ending.signal == killed_by:
            return Killed(killed_by, started=True)
        return Signalled(ending.signal, ending.core_dumped)
    if ending.stage == "exec":
        if ending.errno in (errno.ENOENT, errno.ENOTDIR):
            return NotStarted(shown_text(ending.message), "not found")
        if ending.errno in _NOT_EXECUTABLE:
            return NotStarted(shown_text(ending.message), "not executable")
    return NotStarted(shown_text(ending.message))
