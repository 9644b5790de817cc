"""Process 1 of a job's PID namespace.

It exists because the kernel ends every process of a PID namespace when process 1 ends.  So when the program ends, or
the launcher (process 1 of the namespace around this one), nothing of the job survives, not even what called setsid(2).
It has the slave's rights until `program.become`, and the caller's rights afterwards.
"""

from __future__ import annotations

import os
import signal

from gproc.launch import program, protocol
from gproc.launch.cgroup import Group
from gproc.launch.left import StartDirectory
from gproc.launch.protocol import JobEnd, Start
from gproc.root import mounts


def main(start: Start, group: Group, stdio: tuple[int, int, int], report: int) -> None:
    """Be the init of `start`; write its Outcome to the pipe `report`.  Returns when this process must exit.

    It is called in a new child, which is process 1 already and blocks the signals of `program.HOLD`.
    """
    report = program.take_stdio(stdio, report)
    try:
        child, begun = _start(start, group, report)
    except program.StageFailed as failure:
        _tell(report, failure.told(start.process))
        return
    _tell(report, program.ended(start.process, _reap(child), begun))


def _start(start: Start, group: Group, report: int) -> tuple[int, StartDirectory | None]:
    with program.stage("view"):
        mounts.begin()
        program.own_ipc()
        mounts.carry_out(start.view.operations, start.caller.uid, start.caller.gid, start.caller.groups)
    own = program.prepare(start)
    program.join(group)
    program.become(start)
    program.bound(start.request.limits, group)
    program.enter(start.view.cwd)
    program.hold(start, report)
    begun = program.mark(start)
    child = program.spawn(start, own)
    program.release_stdio()
    return child, begun


def _reap(child: int) -> int:
    """Wait for `child`, reap orphans, and pass signals on.  Returns the child's wait status."""
    while True:
        arrived = signal.sigwaitinfo(program.HOLD)
        if arrived.si_signo == signal.SIGCHLD:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == child:
                    return status
                if pid == 0:
                    break
        elif arrived.si_pid == 0:
            # It comes from outside the namespace: the sender has no pid here.  The program's own signals are ignored.
            _signal_all(signal.SIGSTOP if arrived.si_signo == program.STOP else arrived.si_signo)


def _signal_all(signum: int) -> None:
    """Send it to every process of the namespace but this one: kill(2)."""
    try:
        os.kill(-1, signum)
    except ProcessLookupError:
        return


def _tell(report: int, outcome: JobEnd) -> None:
    os.write(report, protocol.framed(outcome))
