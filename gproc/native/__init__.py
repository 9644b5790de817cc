"""The static helper: one small program in C, without libc, that is a job's first process.

`build.py` compiles it when gproc is installed, or at the first `make`.  If it cannot, there is no helper: `launch` does
the same in Python, and a file beside where the helper would be says why.  The helper trusts the slave that starts it as
far as it can check what the slave says: `plan.h`.
"""

from __future__ import annotations

import os
from typing import Final

from gproc.shown import shown_text

HELPER = os.fsencode(os.path.dirname(__file__)) + b"/gproc-helper"
"""Where it is; tests have others."""

_REASON_MAX: Final = 500
"""Characters of a reason, as of build.py."""


def why_missing() -> str:
    """Why this installation has no helper, as one clause; "" if it has one."""
    if not os.path.exists(HELPER):
        return _why_not_built()
    if not os.access(HELPER, os.X_OK):
        return f"{os.fsdecode(HELPER)} cannot be executed"
    return ""


def _why_not_built() -> str:
    """As build.py has left it when gproc was installed."""
    try:
        with open(HELPER + b".why", encoding="utf-8", errors="backslashreplace") as file:
            reason = shown_text(" ".join(file.read(_REASON_MAX).split()))
    except OSError:
        reason = ""
    return f"it was not built: {reason}" if reason else f"there is no {os.fsdecode(HELPER)}"
