"""`python -m gproc.adapters.invoke.tied PARENT FILES CPU WORD...`: becomes a launcher that is killed if PARENT dies.

PARENT: the caller's process number.  FILES, CPU: soft limits of open files, and of processor time in seconds; -1: none.
A program of its own, because nothing safe can be done between fork(2) and execve(2) in a process that has threads.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence

from gproc.adapters.rsh import TIED
from gproc.root import kernel


def words(program: Sequence[str], files: int, cpu_s: int | None) -> list[str]:
    """The command that becomes `program`."""
    limits = (files, -1 if cpu_s is None else cpu_s)
    return [sys.executable, "-m", "gproc.adapters.invoke.tied", *map(str, (os.getpid(), *limits)), *program]


def main() -> None:
    parent, files, cpu_s = map(int, sys.argv[1:4])
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    for kind, soft in ((resource.RLIMIT_NOFILE, files), (resource.RLIMIT_CPU, cpu_s)):
        if soft >= 0:
            resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
    os.environ[TIED] = str(os.getpid())
    os.execvp(sys.argv[4], sys.argv[4:])


if __name__ == "__main__":
    main()
