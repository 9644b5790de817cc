"""What the process that asks PAM ends when it has its answer."""

from __future__ import annotations

import os
import subprocess

from gproc.policy import account


def test_a_kernel_without_lists_of_children_refused_every_user() -> None:
    """CONFIG_PROC_CHILDREN: PAM had said yes, and then the process ended with a traceback and the status of a no."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            assert child.pid in account._children()
            assert account._children_by_stat() == sorted(account._children())
        finally:
            child.kill()


def test_no_status_that_python_ends_with_by_itself_means_anything_else() -> None:
    assert {0, 1, 2}.isdisjoint({account.REFUSED, account.TOO_LATE, account.CRASHED})
    assert os.WEXITSTATUS(account.CRASHED << 8) == account.CRASHED
