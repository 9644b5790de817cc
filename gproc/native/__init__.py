"""The static helper: one small program in C, without libc, that is a job's first process.

`build.py` compiles it when gproc is installed, or at the first `make`.  If no C compiler was found, there is no
helper, and `launch` does the same in Python.  It trusts the slave that starts it as far as it can check what the
slave says: `plan.h`.
"""

from __future__ import annotations

import os

HELPER = os.fsencode(os.path.dirname(__file__)) + b"/gproc-helper"
"""Where it is; tests have others."""


def why_missing() -> str:
    """Why this installation has no helper, as one clause; "" if it has one."""
    if not os.path.exists(HELPER):
        return "it was installed without a C compiler"
    if not os.access(HELPER, os.X_OK):
        return f"{os.fsdecode(HELPER)} cannot be executed"
    return ""
