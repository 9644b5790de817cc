"""How an outcome is told to people, in a few words.  Pure."""

from __future__ import annotations

import signal
from typing import assert_never

from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Refused, Returned, Signalled, TimedOut
from gproc.shown import shown_text


def describe(outcome: Outcome) -> str:
    """How it ended, in a few words; "" if all is well."""
    match outcome:
        case Returned(code):
            return f"exit status {code}" if code else ""
        case Signalled(signum, core_dumped):
            return f"killed by {name_of(signum)}" + (", core dumped" if core_dumped else "")
        case TimedOut(timeout_s):
            return f"timed out after {timeout_s:g} s"
        case Killed(signum, started):
            return f"killed by {name_of(signum)}" + ("" if started else " before it was started")
        case Lost(reason):
            return f"lost: {shown_text(reason)}"
        case Refused(reason):
            return f"refused: {shown_text(reason)}"
        case NotStarted(reason):
            return shown_text(reason)
        case _:
            assert_never(outcome)


def name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
