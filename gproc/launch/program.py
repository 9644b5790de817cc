"""The last steps of a job's first process before its program runs: bounds, identity, directory, exec.

Init and shim share it.  Each function is one stage.  A failure is a `StageFailed` with the stage's name.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from gproc.copy import builtin
from gproc.copy.builtin import PreparedTask
from gproc.launch.cgroup import Group
from gproc.launch.left import StartDirectory
from gproc.launch.operations import OOM_SCORE_ADJ, SELECT_FILES, candidates, mem_too_small
from gproc.launch.protocol import ProgramEnded, SpawnFailed, Start
from gproc.request.limits import Limits
from gproc.request.signals import FORWARDED
from gproc.root import kernel
from gproc.shown import reason_of

_RESETTABLE: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""All signals that get their default disposition back: Python itself ignores SIGPIPE and SIGXFSZ."""

STOP: Final = signal.SIGRTMIN + 2
"""This signal tells an init or shim to send SIGSTOP to the job: SIGSTOP itself would stop that one."""

HOLD: Final = frozenset({*FORWARDED, signal.SIGCHLD, STOP})
"""The launcher, every init and every shim block these.  A blocked signal waits for sigwaitinfo(2).  Process 1 of a
namespace loses a signal that it neither blocks nor handles: pid_namespaces(7)."""


_TAKE_TERMINAL: Final = (
    (os.POSIX_SPAWN_OPEN, 0, "/proc/self/fd/1", os.O_RDWR, 0),
    (os.POSIX_SPAWN_DUP2, 0, 1),
    (os.POSIX_SPAWN_DUP2, 0, 2),
)
"""If a session leader without a controlling terminal opens a terminal, that becomes its own: open(2), O_NOCTTY.  It is
opened by this path: the node's /dev/pts may be mounted elsewhere here, and fd/0 is closed first."""

HELD: Final = b"d"
"""The byte that comes with the handle of a job's directory."""

_MESSAGE_CHARACTERS: Final = 500
"""The most bytes of a path in a message.  A path may be longer, but a report must fit into one write to a pipe."""


class StageFailed(Exception):
    """A stage has failed.  Its facts are those of `SpawnFailed`, which the slave makes of them."""

    def __init__(self, stage: str, code: int, message: str) -> None:
        super().__init__(stage, code, message)
        self.stage = stage
        self.code = code
        self.message = message

    def told(self, process: int) -> SpawnFailed:
        return SpawnFailed(process, self.stage, self.code, self.message)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Raise StageFailed if the block fails.  A ValueError means a NUL in an argument, a name or a path."""
    try:
        yield
    except OSError as error:
        raise StageFailed(name, error.errno or errno.EIO, reason_of(error)[:_MESSAGE_CHARACTERS]) from error
    except ValueError as error:
        raise StageFailed(name, errno.EINVAL, str(error)) from error


def take_stdio(stdio: tuple[int, int, int], report: int) -> int:
    """Make `stdio` the descriptors 0, 1 and 2, keep `report`, and close all others.  Returns the new `report`."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    if report != 3:
        os.dup2(report, 3, inheritable=False)
    kernel.close_from(4)
    return 3


def release_stdio() -> None:
    """Close our copies of the program's descriptors, so that a reader sees the end when the program closes its own."""
    os.closerange(0, 3)


def own_ipc() -> None:
    """Give the job its own System V shared memory, semaphores and queues: an ipc_namespaces(7) that ends with it.

    Without one, they stay until they are removed by hand, and cannot be told from those of the same user's other
    programs.
    """
    with suppress(OSError):  # a kernel without this kind of namespace; or a plain node whose slave is not root
        kernel.unshare(kernel.CLONE_NEWIPC)


def join(group: Group) -> None:
    """Join the job's control group, and let the kernel kill this process before the slave if memory runs out.

    This needs the slave's rights.
    """
    with stage("limits"):
        if group.directories:
            group.join()
        _die_first()


def _die_first() -> None:
    """Raise the oom_score_adj, proc(5), of this process and of every process that it starts."""
    if os.geteuid() != 0:
        # Files in /proc belong to root if a process is not dumpable.  All here is one user's, so no other user gains by
        # this.
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            file.write(b"%d" % min(1000, max(0, int(file.read())) + OOM_SCORE_ADJ))
    except OSError:
        return  # /proc is masked, or the kernel is old: the job runs without it
    finally:
        if os.geteuid() != 0:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def bound(limits: Limits, group: Group) -> None:
    """Apply nice(2), sched_setaffinity(2), and setrlimit(2) for what `group` does not bound.  The program inherits all.

    This runs with the caller's rights, so that `--nice` gives nothing that the kernel would refuse the caller.
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
        # setrlimit(2): RLIMIT_NPROC does not bind root, and a job without its bound would break our promise.
        reason = f"root's processes can only be bounded by a cgroup, and {no_group_because}"
        raise OSError(errno.ENOTSUP, f"{reason}: leave --max-procs out, or run the job as another user")
    # The job's init counts too.
    _lower(resource.RLIMIT_NPROC, count + 1)


def _bound_memory(size_bytes: int) -> None:
    # posix_spawn maps a stack in this process, so the process itself must fit below the limit.
    with open("/proc/self/statm", "rb") as statm:
        own_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    least_bytes = own_bytes + (16 << 20)
    if size_bytes < least_bytes:
        raise OSError(errno.EINVAL, mem_too_small(least_bytes))
    _lower(resource.RLIMIT_AS, size_bytes)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def become(start: Start) -> None:
    """Take the caller's groups, gid and uid for good.  Afterwards this process has none of the slave's rights.

    It has none of the slave's keys either: a session keyring is inherited, and a process that has it can read its keys.
    """
    with stage("identity"):
        # This comes before the uid changes, because the user may have used up the quota of keys.
        kernel.new_session_keyring()
        if os.geteuid() == 0:
            if (start.caller.uid, start.caller.gid) != (0, 0) or start.caller.groups != tuple(os.getgroups()):
                os.setgroups(start.caller.groups)
                os.setresgid(start.caller.gid, start.caller.gid, start.caller.gid)
                os.setresuid(start.caller.uid, start.caller.uid, start.caller.uid)
        elif start.caller.uid != os.getuid():
            raise PermissionError(errno.EPERM, "a slave that is not root runs only its own user's jobs")
        if start.caller.uid != 0:
            # A view may put a caller's libraries over /usr/lib, and ld.so trusts the system's directories.  So a
            # set-user-ID program of the node would run the caller's code as root.  With this bit, execve(2) never
            # again gives this process or its descendants rights that the caller lacks: prctl(2).
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def prepare(start: Start) -> PreparedTask | None:
    """The slave's own task that runs instead of a program, ready for `spawn`.  This needs the slave's rights."""
    if start.task is None:
        return None
    with stage("task"):
        return builtin.prepared(start.task)


def enter(directory: bytes) -> None:
    """Change to the job's working directory, with the caller's rights."""
    with stage("cwd"):
        os.chdir(directory)


def holds(start: Start) -> bool:
    """Whether the slave gets a handle for the directory in which the program begins."""
    return bool(start.request.collect) and start.task is None


def hold(start: Start, report: int) -> None:
    """Send that handle, if it is wanted: then `report` is a socket."""
    if not holds(start):
        return
    with stage("cwd"), socket.socket(fileno=os.dup(report)) as slave:
        directory = os.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        socket.send_fds(slave, [HELD], [directory])
        os.close(directory)


def mark(start: Start) -> StartDirectory | None:
    """The working directory as it is now, if the slave asks what is left in it."""
    if not start.tells:
        return None
    with stage("cwd"):
        return StartDirectory(counts=start.view.kind == "namespaces")


def spawn(start: Start, own: PreparedTask | None) -> int:
    """Run the program, or our own task, as a child with its own session, default signals, and descriptors 0 to 2.

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
                return _spawned(start, path, arguments, environ)
            except (FileNotFoundError, NotADirectoryError) as error:
                failure = FileNotFoundError(errno.ENOENT, *error.args[1:], error.filename)
            except PermissionError as error:
                denied = error
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A text file without "#!": as execvp(3) has it, a shell reads it.
                return _spawned(start, b"/bin/sh", (b"/bin/sh", path, *arguments[1:]), environ)
        raise denied or failure


def _spawned(start: Start, path: bytes, arguments: tuple[bytes, ...], environ: Mapping[bytes, bytes]) -> int:
    return os.posix_spawn(
        path, arguments, environ, file_actions=_TAKE_TERMINAL if start.request.terminal is not None else (),
        setsid=True, setsigmask=(), setsigdef=_RESETTABLE,
    )  # fmt: skip


def ended(process: int, status: int, begun: StartDirectory | None = None) -> ProgramEnded:
    """A wait status as wait(2) has it."""
    left = begun is not None and begun.any_left()
    if os.WIFSIGNALED(status):
        return ProgramEnded(process, 0, os.WTERMSIG(status), os.WCOREDUMP(status), left=left)
    return ProgramEnded(process, os.WEXITSTATUS(status), 0, False, left=left)
