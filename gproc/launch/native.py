"""Starts jobs with the static helper: the slave itself starts a process for each, so there is no launcher process.

The slave's own tasks (`gproc cp`, `gproc get`) run in Python: `launch.own_tasks`.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from gproc import native
from gproc.launch import helper, operations
from gproc.launch.cgroup import Cgroups, Group, LeftGroups
from gproc.launch.helper import Ended, Failed, Helper
from gproc.launch.launcher import END_S, HELD, Launcher, Process
from gproc.launch.operations import FORMAT, OOM_SCORE_ADJ, NotPlanned
from gproc.launch.own_tasks import OwnTasks
from gproc.launch.protocol import JobEnd, ProgramEnded, SpawnFailed, Start
from gproc.request.signals import can_be_passed
from gproc.root.abilities import Abilities
from gproc.root.view import MakeDirectory, Operation, Overlay, Proc, Tmpfs
from gproc.shown import reason_of

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("gproc")

_NO_GROUP: Final = Group()

_OOM_SCORE_MAX: Final = 1000

_AT_ONCE: Final = 1000
"""Files of a plain job's directory that the slave removes itself, in some 5 ms, if the job's own process is dead."""

_DEADLINE_LATER_S: Final = 5.0
"""Seconds after a job's timeout at which its init ends it.  The master ends it before, and reports a timeout."""


class NativeJob(msgspec.Struct, frozen=True):
    """A job as the slave sees it: the job's first process, which is the slave's child."""

    process: int
    helper: Helper
    pidfd: int
    plain: bool
    root: bytes
    group: Group
    on_exit: Callable[[JobEnd], None]


class NativeLauncher(Launcher):
    def __init__(self, abilities: Abilities) -> None:
        self.abilities = abilities
        self._uid = os.geteuid()
        self._oom_score = _oom_score()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends = select.epoll()
        """Readable when any job has ended.  One descriptor for each job on the loop would cost ten times as much."""
        self._running: dict[int, NativeJob] = {}
        """Jobs by the pidfd of their first process: `_ends` reports pidfds."""
        self._pidfds: dict[int, int] = {}
        """Jobs by their number at the slave."""
        self._tasks = OwnTasks(abilities)
        self._left_groups = LeftGroups()
        self._lease_ns = 0

    @classmethod
    def found(cls, *, private: bool) -> NativeLauncher:
        """private: as for `Launcher.for_this_node`.  Raises: LaunchError."""
        if private:
            abilities = _tried()
        else:
            reason = "switched off by -p=false"
            abilities = Abilities(view=False, overlay=False, root=os.geteuid() == 0, reason=reason)
        if not abilities.view:
            _adopt_orphans()
        return cls(abilities)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._ends, self._some_ended)
        self._tasks.attach(loop)

    def spawn(self, start: Start, stdin: int, stdout: int, stderr: int, on_exit: Callable[[JobEnd], None]) -> Process:
        stdio = (stdin, stdout, stderr)
        if start.task is not None:
            return self._tasks.spawn(start, stdio, on_exit)
        assert self._loop is not None, "attach first"
        try:
            running = self._start(start, stdio, on_exit)
            self._running[running.pidfd] = running
            self._pidfds[start.process] = running.pidfd
        except NotPlanned as error:
            self._loop.call_soon(on_exit, SpawnFailed(start.process, error.stage, error.code, error.message))
        except OSError as error:
            self._loop.call_soon(on_exit, SpawnFailed(start.process, "launcher", error.errno or 0, reason_of(error)))
        finally:
            for handle in stdio:
                os.close(handle)
        return Process(self, start.process)

    def send_signal(self, number: int, signum: int) -> None:
        if not can_be_passed(signum):
            raise ValueError(f"signal {signum} cannot be passed on to a job")
        pidfd = self._pidfds.get(number)
        if pidfd is None:
            return
        running = self._running[pidfd]
        if signum != signal.SIGKILL:
            running.helper.signal(signum)
        else:
            _kill(running)

    async def first_process(self, number: int) -> int:
        pidfd = self._pidfds.get(number)
        if pidfd is not None:
            return self._running[pidfd].helper.pid
        return await self._tasks.first_process(number)

    def prolong(self, until_s: float) -> None:
        self._lease_ns = int(until_s * 1e9)
        for running in self._running.values():
            running.helper.prolong(self._lease_ns)

    def close(self) -> None:
        self._tasks.close()
        for running in self._running.values():
            _kill(running)
        self._bury_all()
        if self._loop is not None and not self._ends.closed:
            self._loop.remove_reader(self._ends)
        self._ends.close()

    def _bury_all(self) -> None:
        """Wait for the ends of all jobs, which are killed, but no longer than `END_S`."""
        until_s = time.monotonic() + END_S
        while self._running:
            ended = self._ends.poll(max(0.0, until_s - time.monotonic()))
            if not ended:
                break
            for pidfd, _events in ended:
                self._bury(pidfd)
        while self._running:
            _, running = self._running.popitem()
            log.warning(
                "process %d and what it has started do not end, though they are killed: %s", running.helper.pid, HELD
            )

    # Starting one

    def _start(self, start: Start, stdio: tuple[int, int, int], on_exit: Callable[[JobEnd], None]) -> NativeJob:
        """Raises: NotPlanned, OSError."""
        plain = start.view.kind == "plain"
        group = _group(start, self._left_groups)
        try:
            plan = operations.plan(
                start, group, slave_uid=self._uid, oom_score=self._oom_score, deadline_ns=_deadline_ns(start),
                lease_ns=self._lease_ns,
            )  # fmt: skip
            holds = bool(start.request.collect)
            started = (helper.start if plain else helper.start_private)(plan, stdio, holds=holds)
            if isinstance(started, Failed):
                raise NotPlanned(started.stage, started.errno, started.message)
            pidfd = self._watched(started, start.view.root, plain=plain)
        except BaseException:
            group.remove()
            raise
        return NativeJob(start.process, started, pidfd, plain, start.view.root, group, on_exit)

    def _watched(self, started: Helper, root: bytes, *, plain: bool) -> int:
        """A pidfd of a job's first process, of whose end `_ends` tells.

        Raises: OSError, and then nothing of the job runs.
        """
        pidfd = -1
        try:
            pidfd = os.pidfd_open(started.pid)
            self._ends.register(pidfd, select.EPOLLIN)
        except OSError:
            # No descriptor is left, or epoll(7) may watch no more.  A job that we could not wait for must not run.
            if pidfd >= 0:
                os.close(pidfd)
            started.close()
            os.kill(started.pid, signal.SIGKILL)
            os.waitpid(started.pid, 0)
            if plain:
                self._end_orphans(root)
            raise
        return pidfd

    # What became of it

    def _some_ended(self) -> None:
        for pidfd, _events in self._ends.poll(0):
            # The function that is called may end another job: `close`.
            if (running := self._running.get(pidfd)) is not None:
                running.on_exit(self._bury(pidfd))

    def _bury(self, pidfd: int) -> JobEnd:
        """Read the reports of a job whose first process is dead, or about to be; its namespace is dead with it."""
        running = self._running.pop(pidfd)
        del self._pidfds[running.process]
        os.waitpid(running.helper.pid, 0)
        os.close(pidfd)
        report = running.helper.ending()
        directory = running.helper.take_directory() if isinstance(report, Ended) else -1
        running.helper.close()
        if running.plain and report is None:
            self._end_orphans(running.root)
        if running.group is not _NO_GROUP:
            running.group.remove()
        return _ending(running.process, report or helper.KILLED, directory)

    def _end_orphans(self, root: bytes) -> None:
        """A shim was killed, so the processes below it are our children now: end them."""
        from gproc.disk.trees import remove_tree
        from gproc.launch import plain

        others = {other.helper.pid for other in self._running.values()}
        others.add(self._tasks.child)
        plain.end_below(but=frozenset(others))
        if root:
            # The next slave removes the rest.
            remove_tree(root, _AT_ONCE)


def why_not_native() -> str:
    """Why jobs cannot be started by the static helper, as one clause; "" if they can."""
    if missing := native.why_missing():
        return missing
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(native.HELPER, (native.HELPER, FORMAT), {}), 0)[1])
    except OSError as error:
        return f"the helper cannot be executed: {error.strerror}"
    return "" if status == 0 else f"the helper is of another version of gproc (it ended with {status})"


def _deadline_ns(start: Start) -> int:
    """When a job's init ends the job by itself: if the slave is stopped, no other process here keeps `--timeout`."""
    timeout_s = start.request.timeout_s
    if timeout_s is None:
        return 0
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int((timeout_s + _DEADLINE_LATER_S) * 1e9)


def _group(start: Start, left: LeftGroups) -> Group:
    """The group of a job, if it has a bound that needs one.  Raises: NotPlanned."""
    if start.request.limits.max_procs is None and start.request.limits.mem_bytes is None:
        return _NO_GROUP
    try:
        return Cgroups.here().make(start.request.limits, left)
    except OSError as error:
        raise NotPlanned("limits", error.errno or 0, reason_of(error)) from error


def _kill(running: NativeJob) -> None:
    """Kill the job's first process.  Nobody has waited for it yet, so its pid is still its own."""
    if running.plain:
        # It must end the job and remove its files.  A program of the same user may have stopped it.
        taken = running.helper.signal(signal.SIGKILL)
        os.kill(running.helper.pid, signal.SIGCONT if taken else signal.SIGKILL)
    else:
        os.kill(running.helper.pid, signal.SIGKILL)


def _ending(process: int, report: Ended | Failed, directory: int) -> JobEnd:
    if isinstance(report, Failed):
        return SpawnFailed(process, report.stage, report.errno, report.message)
    status = report.status
    if os.WIFSIGNALED(status):
        return ProgramEnded(process, 0, os.WTERMSIG(status), os.WCOREDUMP(status), directory, report.left)
    return ProgramEnded(process, os.WEXITSTATUS(status), 0, False, directory, report.left)


def _oom_score() -> int | None:
    try:
        with open("/proc/self/oom_score_adj", "rb") as own:
            return min(_OOM_SCORE_MAX, max(0, int(own.read())) + OOM_SCORE_ADJ)
    except OSError:
        return None


def _adopt_orphans() -> None:
    """Make this process the parent of what a plain job leaves when its shim is killed: prctl(2)."""
    from gproc.root import kernel

    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)


def _tried() -> Abilities:
    """What this node allows, found by doing it once: a sysctl, seccomp or AppArmor each refuse at another step."""
    root = os.geteuid() == 0
    at = b"/dev"  # a directory that every node has
    mounts: tuple[Operation, ...] = (Proc(b"/proc"), Tmpfs(at))
    names = (b"/lower", b"/upper", b"/work", b"/union")
    lower, upper, work, union = (at + name for name in names)
    made = tuple(MakeDirectory(at, name) for name in names)
    refused = _refused((*mounts, *made, Overlay((lower,), upper, work, union)))
    if refused is None:
        return Abilities(view=True, overlay=True, root=root, reason="")
    without_overlay = _refused(mounts)
    if without_overlay is None:
        return Abilities(view=True, overlay=False, root=root, reason=f"no overlay: {refused.message}")
    lacking = "mounts" if without_overlay.stage == "view" else "namespaces"
    return Abilities(view=False, overlay=False, root=root, reason=f"no {lacking}: {without_overlay.message}")


def _refused(mounts: tuple[Operation, ...]) -> Failed | None:
    plan = operations.plan_trial(mounts, slave_uid=os.geteuid(), gid=os.getegid())
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        started = helper.start_private(plan, (null, null, null))
    except OSError as error:
        return Failed("launcher", error.errno or errno.EIO, reason_of(error))
    finally:
        os.close(null)
    if isinstance(started, Failed):
        return started
    _, status = os.waitpid(started.pid, 0)
    report = started.ending()
    started.close()
    if isinstance(report, Ended):
        return None
    died = Failed("launcher", errno.EIO, f"a process in a namespace died (wait status {status:#x})")
    return report if isinstance(report, Failed) else died
