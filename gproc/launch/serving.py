"""The launcher process: single-threaded, small, and the parent of every job's init or shim.

It lives as long as its socket: at the end of the stream it ends every job and itself.  As process 1 of a PID
namespace of its own it takes all jobs with it even when it is killed.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Final, assert_never

import msgspec

from gproc.disk.trees import remove_tree
from gproc.launch import init, plain, probe, program, protocol
from gproc.launch.cgroup import Cgroups, Group
from gproc.launch.protocol import Ending, Inbox, SignalProcess, SpawnFailed, Start
from gproc.root import kernel
from gproc.root.abilities import Abilities

_REPORT_BYTES: Final = 4096
"""An init writes its one report at once: below PIPE_BUF, pipe(7)."""


_NO_GROUP: Final = Group()

_AT_ONCE: Final = 1000
"""Files of a plain job's directory that the launcher removes itself, in some 5 ms; more take a process of their own."""

_REMOVAL_S: Final = 60
"""What a removal may take; the next slave clears away what it leaves."""


class Running(msgspec.Struct, frozen=True, gc=False):
    """A job from here: its init or shim as a child of ours, and the pipe with what becomes of it."""

    process: int
    pid: int
    pidfd: int
    report: int
    plain: bool
    root: bytes
    group: Group


def main(sock: socket.socket, *, private: bool) -> None:
    """Serve the slave at the other end of `sock`.  Returns when this process must exit.

    Called in a fresh child of the slave.  private: whether namespaces are wanted where they can be had.
    """
    # A collection in here or in an init would write to, and so copy, every page shared with the slave.
    gc.disable()
    _come_off(sock)
    if private:
        able = probe.probe()
    else:
        reason = "switched off by -p=false"
        able = Abilities(view=False, overlay=False, root=os.geteuid() == 0, reason=reason)
    if able.view:
        probe.enter_namespaces()
        if os.fork() != 0:
            # Only a child is in the new PID namespace: unshare(2).
            return
    else:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    # Inits and shims inherit it, and get the uid of the program they watch: it must not trace them nor read their
    # memory.  An execve(2) gives it back.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    sock.sendall(protocol.framed(able))
    Serving(sock, able).run()


def _come_off(sock: socket.socket) -> None:
    """Keep nothing of the slave's: terminal, signals, descriptors, umask."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, {*program.HOLD, plain.END})
    for signum in program.HOLD:
        signal.signal(signum, signal.SIG_DFL)
    os.umask(0)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.closerange(3, sock.fileno())
    kernel.close_from(sock.fileno() + 1)


class Serving:
    def __init__(self, sock: socket.socket, able: Abilities) -> None:
        self._sock = sock
        self._inbox = Inbox(sock)
        self._poller = select.poll()
        self._by_number: dict[int, Running] = {}
        self._by_pidfd: dict[int, Running] = {}
        self._removals: dict[int, tuple[int, Ending]] = {}
        """By pidfd: the process that removes a job's directory, and what became of the job."""
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if able.view else -1

    def run(self) -> None:
        """Until the slave hangs up; then every job is ended."""
        self._poller.register(self._sock, select.POLLIN)
        try:
            while True:
                for fd, _events in self._poller.poll():
                    if fd == self._sock.fileno():
                        if not self._inbox.receive():
                            return
                        for frame in self._inbox.frames():
                            self._do(protocol.request(frame))
                    elif fd in self._removals:
                        self._tell(self._removed(fd))
                    else:
                        running = self._by_pidfd[fd]
                        ending = self._bury(running)
                        if not running.root or remove_tree(running.root, _AT_ONCE):
                            self._tell(ending)
                        else:
                            self._remove(running.root, ending)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            self._end_all()

    def _do(self, request: protocol.LauncherRequest) -> None:
        match request:
            case Start():
                stdio = (self._inbox.fds.popleft(), self._inbox.fds.popleft(), self._inbox.fds.popleft())
                try:
                    self._start(request, stdio)
                except OSError as error:
                    self._tell(SpawnFailed(request.process, "launcher", error.errno or 0, str(error)))
                finally:
                    for fd in stdio:
                        os.close(fd)
            case SignalProcess(process, signum):
                running = self._by_number.get(process)
                if running is not None:
                    self._send(running, signum)
            case _:
                assert_never(request)

    def _start(self, start: Start, stdio: tuple[int, int, int]) -> None:
        try:
            group = self._group(start)
        except OSError as error:
            self._tell(SpawnFailed(start.process, "limits", error.errno or 0, str(error)))
            return
        report, writer = os.pipe()
        try:
            pid = self._fork(start, group, stdio, writer)
        except OSError:
            os.close(report)
            group.remove()
            raise
        finally:
            os.close(writer)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            # No descriptor left: a job that nobody could wait for must not run.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(report)
            group.remove()
            raise
        running = Running(start.process, pid, pidfd, report, start.view.kind == "plain", start.view.root, group)
        self._by_number[start.process] = running
        self._by_pidfd[pidfd] = running
        self._poller.register(pidfd, select.POLLIN)

    def _group(self, start: Start) -> Group:
        """Only a job with a bound that takes one gets a group: making it costs more than the fork."""
        if start.request.limits.max_procs is None and start.request.limits.mem_bytes is None:
            return _NO_GROUP
        return Cgroups.here().make(start.request.limits)

    def _fork(self, start: Start, group: Group, stdio: tuple[int, int, int], writer: int) -> int:
        if start.view.kind == "plain":
            launcher = os.getpid()
            return _forked(lambda: plain.main(start, group, stdio, writer, launcher))
        # The next child is process 1 of a new PID namespace, and only it: setns(2) comes back to our own.
        kernel.unshare(kernel.CLONE_NEWPID)
        try:
            return _forked(lambda: init.main(start, group, stdio, writer))
        finally:
            kernel.setns(self._own_pids, kernel.CLONE_NEWPID)

    def _send(self, running: Running, signum: int) -> None:
        """To the init or shim, which passes it on.  Not reaped yet, so its pid is still its own."""
        if signum == signal.SIGKILL and running.plain:
            signum = plain.END
        os.kill(running.pid, signum)

    def _bury(self, running: Running) -> Ending:
        """The init or shim is dead, and with process 1 its namespace: read what it told."""
        self._poller.unregister(running.pidfd)
        del self._by_number[running.process], self._by_pidfd[running.pidfd]
        os.waitpid(running.pid, 0)
        os.close(running.pidfd)
        told = os.read(running.report, _REPORT_BYTES)
        os.close(running.report)
        if running.plain and not told:
            # The shim was killed: what it had below it came to us.
            plain.end_below(but=self._own_children())
        running.group.remove()
        if not told:
            return protocol.ProgramEnded(running.process, 0, signal.SIGKILL, False)
        outcome = protocol.answer(told[4:])
        assert not isinstance(outcome, Abilities)
        return outcome

    def _remove(self, root: bytes, ending: Ending) -> None:
        """Remove a job's directory in a process of its own: a program may have left millions of files there."""
        try:
            pid = _forked(lambda: _removing(root))
        except OSError:
            # No process left: what is not removed now is cleared away by the next slave.
            self._tell(ending)
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.waitpid(pid, 0)
            self._tell(ending)
            return
        self._removals[pidfd] = pid, ending
        self._poller.register(pidfd, select.POLLIN)

    def _removed(self, pidfd: int) -> Ending:
        pid, ending = self._removals.pop(pidfd)
        self._poller.unregister(pidfd)
        os.waitpid(pid, 0)
        os.close(pidfd)
        return ending

    def _own_children(self) -> frozenset[int]:
        removers = (pid for pid, _ending in self._removals.values())
        return frozenset((*(running.pid for running in self._by_number.values()), *removers))

    def _tell(self, outcome: Ending) -> None:
        self._sock.sendall(protocol.framed(outcome))

    def _end_all(self) -> None:
        for running in self._by_number.values():
            self._send(running, signal.SIGKILL)
        for running in list(self._by_number.values()):
            self._bury(running)
            if running.root:
                remove_tree(running.root)
        for pidfd in list(self._removals):
            self._removed(pidfd)


def _removing(root: bytes) -> None:
    signal.alarm(_REMOVAL_S)
    remove_tree(root)


def _forked(body: Callable[[], None]) -> int:
    """The pid of a child that runs `body` and nothing else."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return pid
