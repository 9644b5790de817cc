"""The shim: a job's first process on a node that gives it no namespaces.

It exists because the nearest subreaper above an orphan becomes its parent (prctl(2), PR_SET_CHILD_SUBREAPER).  So
every process that the program leaves, even one that called setsid(2), stays below this process, which ends it.  A
program may kill its shim, because both run as the same user.  Then the launcher, a subreaper too, is the orphans'
parent, and ends them in the same way (`end_below`).
"""

from __future__ import annotations

import os
import signal
from typing import Final

from gproc.disk import trees
from gproc.launch import procstat, program, protocol
from gproc.launch.cgroup import Group
from gproc.launch.left import StartDirectory
from gproc.launch.protocol import Start
from gproc.root import kernel

END: Final = signal.SIGRTMIN + 1
"""This signal tells a shim to end the job at once.  The kernel sends it too, if the launcher dies."""

_HOLD: Final = frozenset({*program.HOLD, END})


def main(start: Start, group: Group, stdio: tuple[int, int, int], report: int, launcher: int) -> None:
    """Be the shim of `start`; write its Outcome to the pipe `report`.  Returns when this process must exit.

    It is called in a new child of the process `launcher`, which blocks the signals of `program.HOLD` and END.
    """
    report = program.take_stdio(stdio, report)
    try:
        child, begun = _start(start, group, launcher, report)
    except program.StageFailed as failure:
        os.write(report, protocol.framed(failure.told(start.process)))
        return
    os.write(report, protocol.framed(program.ended(start.process, _reap(child, launcher), begun)))


def _start(start: Start, group: Group, launcher: int, report: int) -> tuple[int, StartDirectory | None]:
    view = start.view
    with program.stage("view"):
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        program.own_ipc()
        if view.root:
            _make_root(start)
    own = program.prepare(start)
    program.join(group)
    program.become(start)
    with program.stage("launcher"):
        kernel.prctl(kernel.PR_SET_PDEATHSIG, END)
        if os.getppid() != launcher:
            raise BrokenPipeError("the launcher is gone")
    program.bound(start.request.limits, group)
    program.enter(view.cwd)
    program.hold(start, report)
    begun = program.mark(start)
    child = program.spawn(start, own)
    program.release_stdio()
    return child, begun


def _make_root(start: Start) -> None:
    """Lay out the job's own copy of its bundle, with the slave's rights.

    Only the slave's user can enter the copy before it is complete.  So a process of the caller cannot exchange a file
    for a link while root works on it.  Then only the caller can: a directory in it may be open to all, as /tmp is, and
    sticky bits do not travel, so another user of the node could exchange what the job runs next.
    """
    view = start.view
    os.mkdir(view.root, 0o700)
    if view.source:
        trees.copy_tree(view.source, view.root)
    if view.cwd.startswith(view.root + b"/"):
        trees.make_directory(view.root, view.cwd.removeprefix(view.root), start.caller.uid, start.caller.gid)
    root = os.open(view.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            os.fchown(root, start.caller.uid, start.caller.gid)
    finally:
        os.close(root)


def _reap(child: int, launcher: int) -> int:
    """Wait for `child`, reap orphans, pass signals on, and end what is left.  Returns the child's wait status."""
    while True:
        arrived = signal.sigwaitinfo(_HOLD)
        if arrived.si_signo == END:
            return end_below().get(child, signal.SIGKILL)
        if arrived.si_signo == signal.SIGCHLD:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == child:
                    if not _childless():
                        end_below()
                    return status
                if pid == 0:
                    break
        elif arrived.si_pid == launcher and arrived.si_signo == program.STOP:
            _stopped(os.getpid())
        elif arrived.si_pid == launcher:
            for pid in _below(os.getpid(), frozenset()):
                _send(pid, arrived.si_signo)


def _stopped(this: int, but: frozenset[int] = frozenset()) -> set[int]:
    """Stop every process below this one, those too that they start meanwhile.  Returns all of them."""
    stopped: set[int] = set()
    while fresh := _below(this, but) - stopped:
        for pid in fresh:
            _send(pid, signal.SIGSTOP)
        stopped |= fresh
    return stopped


def end_below(but: frozenset[int] = frozenset()) -> dict[int, int]:
    """End and reap every process below this one, except those in `but` and the processes below them.

    Returns the wait status of each that was a child of this process in the end.  It first stops all of them, and looks
    again until there is no new one, so that none can fork unseen.  One that forked meanwhile is found by the next look.
    """
    this = os.getpid()
    statuses: dict[int, int] = {}
    while True:
        doomed = _stopped(this, but)
        if not doomed:
            return statuses
        for pid in doomed:
            _send(pid, signal.SIGKILL)
        parents = _parents()
        for pid in doomed:
            if parents.get(pid) == this:
                statuses[pid] = os.waitpid(pid, 0)[1]


def _childless() -> bool:
    """Whether waitpid(2) knows no child any more.  This is cheaper than reading /proc, and true for most jobs."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def _send(pid: int, signum: int) -> None:
    """Send it a signal.  It may be gone, or have rights of root's by which this user cannot signal it."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return


def _below(ancestor: int, but: frozenset[int]) -> set[int]:
    """All processes below `ancestor`, zombies too, from one pass over /proc."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        if pid not in but:
            children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    frontier = [ancestor]
    while frontier:
        fresh = children.get(frontier.pop(), [])
        found.update(fresh)
        frontier.extend(fresh)
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat = procstat.parsed(file.read())
            except (FileNotFoundError, ProcessLookupError):
                continue
            if stat is not None:
                parents[int(name)] = stat.parent
    return parents
