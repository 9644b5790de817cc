"""How many files a master or a slave may have open."""

from __future__ import annotations

import resource


def allow_all() -> None:
    """Raise the soft limit of open files to the hard one: a connection takes two descriptors, a job some ten.

    The soft limit of 1,024 is for programs that use select(2).  Jobs are given their caller's: `launch.program`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
