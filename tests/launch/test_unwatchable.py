"""A job that the slave could not wait for must not run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gproc import native

RUN = """
import asyncio, errno, os, sys
from gproc.launch.launcher import Launcher
from gproc.launch.protocol import Start
from gproc.request.spec import Caller, Request
from gproc.root.view import MakeDirectory, View

class Full:
    def __init__(self, ends):
        self.ends = ends
    def register(self, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    def __getattr__(self, name):
        return getattr(self.ends, name)

async def main(kind):
    launcher = Launcher.for_this_node(private=kind == "private")
    if launcher.abilities.view != (kind == "private"):
        print("skipped")
        return
    launcher.attach(asyncio.get_running_loop())
    launcher._ends = Full(launcher._ends)
    before = os.listdir("/proc/self/fd")
    ended = asyncio.get_running_loop().create_future()
    stdio = [os.open("/dev/null", os.O_RDWR) for _ in range(3)]
    view = View("namespaces" if kind == "private" else "plain", (), b"/bin/sh", b"/")
    request = Request(nodes="1", argv=(b"sh", b"-c", b"sleep 1000 & sleep 1000"), env=(b"PATH=/usr/bin:/bin",))
    launcher.spawn(Start(1, request, Caller(os.getuid(), os.getgid(), ()), (), view), *stdio, ended.set_result)
    end = await ended
    assert end.errno == errno.ENOSPC, end
    assert os.listdir("/proc/self/fd") == before
    try:
        left = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("nothing runs")
    else:
        print("left:", left)
    launcher.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("kind", ["private", "plain"])
def test_a_job_ran_on_that_was_told_as_not_started(kind: str) -> None:
    """If epoll(7) could watch no more (max_user_watches): nobody waited for its end, and it may have run twice."""
    if native.why_missing():
        pytest.skip("needs the static helper")
    done = subprocess.run([sys.executable, "-c", RUN, kind], capture_output=True, text=True, env=dict(os.environ))
    if done.stdout == "skipped\n":
        pytest.skip("this machine allows no namespaces")
    assert done.stdout == "nothing runs\n", done.stderr
