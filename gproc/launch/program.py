"""The last steps of a job's first process before its program runs: bounds, identity, directory, exec.

Shared by init and shim.  Each function is one stage; what fails is a `StageFailed` with the stage's name.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gproc.copy import builtin
from gproc.copy.builtin import PreparedTask
from gproc.launch.cgroup import Group
from gproc.launch.operations import OOM_SCORE_ADJ, SELECT_FILES, candidates
from gproc.launch.protocol import ProgramEnded, SpawnFailed, Start
from gproc.request.limits import Limits
from gproc.request.signals import FORWARDED
from gproc.root import kernel

_RESETTABLE: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""All signals whose disposition is put back to the default: Python itself ignores SIGPIPE and SIGXFSZ."""

HOLD: Final = frozenset({*FORWARDED, signal.SIGCHLD})
"""Blocked in the launcher, in every init and in every shim: a blocked signal waits for sigwaitinfo, whereas
process 1 of a namespace loses one that it neither blocks nor handles (pid_namespaces(7))."""


_TAKE_TERMINAL: Final = (
    (os.POSIX_SPAWN_OPEN, 0, "/proc/self/fd/1", os.O_RDWR, 0),
    (os.POSIX_SPAWN_DUP2, 0, 1),
    (os.POSIX_SPAWN_DUP2, 0, 2),
)
"""Opening a terminal makes it the controlling one of a session leader that has none: open(2), O_NOCTTY.  By that
path, because what the node calls /dev/pts may be mounted elsewhere here; not by fd/0, which is closed first."""

_MESSAGE_CHARACTERS: Final = 500
"""A path in a message may have PATH_MAX bytes, or whatever a caller made up; the whole report has one pipe write."""


class StageFailed(Exception):
    """What `SpawnFailed` tells, on its way out of the process where it happened."""

    def __init__(self, stage: str, code: int, message: str) -> None:
        super().__init__(stage, code, message)
        self.stage = stage
        self.code = code
        self.message = message

    def told(self, process: int) -> SpawnFailed:
        return SpawnFailed(process, self.stage, self.code, self.message)


def _sentence(error: OSError) -> str:
    """What failed, and on which path, without Python's own decoration."""
    reason = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Turn what fails within into a StageFailed; a ValueError is a NUL in an argument, a name or a path."""
    try:
        yield
    except OSError as error:
        raise StageFailed(name, error.errno or errno.EIO, _sentence(error)[:_MESSAGE_CHARACTERS]) from error
    except ValueError as error:
        raise StageFailed(name, errno.EINVAL, str(error)) from error


def take_stdio(stdio: tuple[int, int, int], report: int) -> int:
    """Make `stdio` descriptors 0, 1, 2; keep `report` beside them; close all others.  Returns the new report."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    if report != 3:
        os.dup2(report, 3, inheritable=False)
    kernel.close_from(4)
    return 3


def release_stdio() -> None:
    """Let go of the program's descriptors: a reader shall see the end when the program's own are closed."""
    os.closerange(0, 3)


def own_ipc() -> None:
    """Shared memory, semaphores and message queues of System V, in an ipc_namespaces(7) that ends with the job.

    Outside of one they stay until somebody removes them, and nothing tells a dead job's from those of the same user's
    other programs.
    """
    with suppress(OSError):  # a kernel without this kind of namespace; or a plain node whose slave is not root
        kernel.unshare(kernel.CLONE_NEWIPC)


def join(group: Group) -> None:
    """Join the job's control group, and be killed before the slave when memory ends.  With the slave's rights."""
    with stage("limits"):
        if group.directories:
            group.join()
        _die_first()


def _die_first() -> None:
    """Raise oom_score_adj, proc(5), of this process and all that it starts."""
    if os.geteuid() != 0:
        # Files in /proc belong to root while a process is not dumpable.  All here is one user's: nobody gains by it.
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            file.write(b"%d" % min(1000, max(0, int(file.read())) + OOM_SCORE_ADJ))
    except OSError:
        return  # a /proc that is masked, or of an old kernel: the job runs as it did
    finally:
        if os.geteuid() != 0:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def bound(limits: Limits, group: Group) -> None:
    """Apply nice(2), sched_setaffinity(2), and setrlimit(2) for what `group` does not bound; all of it is inherited.

    With the caller's rights, so that nobody takes by `nice` what the kernel would refuse him.
    """
    with stage("limits"):
        for kind, soft in {resource.RLIMIT_NOFILE: SELECT_FILES, **dict(limits.soft)}.items():
            _as_at_home(kind, soft)
        if limits.nice is not None:
            os.nice(limits.nice)
        if limits.cpus is not None:
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, allowed[: max(1, limits.cpus)])
        if limits.max_procs is not None and not group.processes:
            _bound_processes(limits.max_procs, group.unbounded_because)
        if limits.mem_bytes is not None and not group.memory:
            _bound_memory(limits.mem_bytes)


def _as_at_home(kind: int, soft: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        soft = hard
    resource.setrlimit(kind, (soft, hard))


def _bound_processes(count: int, no_group_because: str) -> None:
    if os.getuid() == 0:
        # setrlimit(2): RLIMIT_NPROC does not hold root; to run unbounded would be to break the promise.
        reason = f"root's processes can only be bounded by a cgroup, and {no_group_because}"
        raise OSError(errno.ENOTSUP, f"{reason}: leave --max-procs out, or run the job as another user")
    # The init of the job counts too.
    _lower(resource.RLIMIT_NPROC, count + 1)


def _bound_memory(size_bytes: int) -> None:
    # posix_spawn maps its stack in this process, which therefore has to fit below the limit itself.
    with open("/proc/self/statm", "rb") as statm:
        own_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    least_bytes = own_bytes + (16 << 20)
    if size_bytes < least_bytes:
        raise OSError(errno.EINVAL, f"without a memory cgroup the least is {-(-least_bytes >> 20)} MiB")
    _lower(resource.RLIMIT_AS, size_bytes)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def become(start: Start) -> None:
    """Take the caller's groups, gid and uid.  For good: nothing of the slave's rights is left afterwards.

    Nor of its keys: a session keyring is inherited, and its owner's keys can be read by whoever has it.
    """
    with stage("identity"):
        # Before the uid changes, because a user may have used up his own share of keys.
        kernel.new_session_keyring()
        if os.geteuid() == 0:
            if (start.caller.uid, start.caller.gid) != (0, 0) or start.caller.groups != tuple(os.getgroups()):
                os.setgroups(start.caller.groups)
                os.setresgid(start.caller.gid, start.caller.gid, start.caller.gid)
                os.setresuid(start.caller.uid, start.caller.uid, start.caller.uid)
        elif start.caller.uid != os.getuid():
            raise PermissionError(errno.EPERM, "a slave that is not root runs its own user's jobs only")
        if start.caller.uid != 0:
            # A view may lay a caller's libraries over /usr/lib, and ld.so does not question what lies in a system
            # directory: a set-user-ID program of the node would run the caller's code as root.  With this bit
            # execve gives no rights that the caller lacks (prctl(2)), for all that comes after, for good.
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def prepare(start: Start) -> PreparedTask | None:
    """What the slave's own code does in the program's stead, ready for `spawn`; with the slave's rights."""
    if start.task is None:
        return None
    with stage("errand"):
        return builtin.prepared(start.task)


def enter(directory: bytes) -> None:
    """With the caller's rights."""
    with stage("cwd"):
        os.chdir(directory)


def spawn(start: Start, own: PreparedTask | None) -> int:
    """Run the program, or our own code, as a child: session of its own, default signals, descriptors 0 to 2.

    Returns its pid.
    """
    if own is not None:
        with stage("exec"):
            return own.fork()
    os.umask(start.request.umask)
    environ = start.view.environment(start.env)
    arguments = start.view.arguments(start.request.argv)
    denied: OSError | None = None
    failure = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(start.view.program))
    with stage("exec"):
        for path in candidates(start.view.program, environ):
            try:
                return os.posix_spawn(
                    path, arguments, environ, file_actions=_TAKE_TERMINAL if start.request.terminal is not None else (),
                    setsid=True, setsigmask=(), setsigdef=_RESETTABLE,
                )  # fmt: skip
            except (FileNotFoundError, NotADirectoryError) as error:
                failure = FileNotFoundError(errno.ENOENT, *error.args[1:], error.filename)
            except PermissionError as error:
                denied = error
        raise denied or failure


def ended(process: int, status: int) -> ProgramEnded:
    """A wait status as wait(2) has it."""
    if os.WIFSIGNALED(status):
        return ProgramEnded(process, 0, os.WTERMSIG(status), os.WCOREDUMP(status))
    return ProgramEnded(process, os.WEXITSTATUS(status), 0, False)
