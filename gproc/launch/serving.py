"""The launcher process: single-threaded, small, and the parent of every job's init or shim.

It ends when its socket does: then it ends every job first.  It is process 1 of a PID namespace, so all jobs end with it
even if it is killed.
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
from gproc.launch.cgroup import Cgroups, Group, LeftGroups
from gproc.launch.protocol import FindFirst, FirstFound, Inbox, JobEnd, SignalProcess, SpawnFailed, Start
from gproc.root import kernel
from gproc.root.abilities import Abilities
from gproc.shown import reason_of

_REPORT_BYTES: Final = 4096
"""The most bytes of a report.  It is below PIPE_BUF, so an init writes it at once: pipe(7)."""


_NO_GROUP: Final = Group()

_AT_ONCE: Final = 1000
"""The most files of a plain job's directory that the launcher removes itself, in some 5 ms.  More need a process."""

_REMOVAL_S: Final = 60
"""The most seconds of a removal.  The next slave removes what is left."""


class ForkedJob(msgspec.Struct, frozen=True, gc=False):
    """A job as the launcher sees it: its init or shim, which is our child, and the pipe for its report."""

    process: int
    pid: int
    pidfd: int
    report: int
    plain: bool
    root: bytes
    group: Group
    holds: bool = False
    """Whether a handle of its directory comes before its report, and its root stays when it has ended."""


def main(sock: socket.socket, *, private: bool) -> None:
    """Serve the slave at the other end of `sock`.  Returns when this process must exit.

    It is called in a new child of the slave.  private: use namespaces if the node allows them.
    """
    # A garbage collection here or in an init would write to every page that is shared with the slave, and so copy it.
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
            # Only a child is in the new PID namespace: unshare(2), CLONE_NEWPID.
            return
    else:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    # Inits and shims inherit this.  They have the uid of the program that they watch, which must not be able to trace
    # them or read their memory.  execve(2) sets the flag back.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    Serving(sock, able).run()


def _come_off(sock: socket.socket) -> None:
    """Drop what this process has of the slave: terminal, signals, descriptors, umask."""
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
        self._able = able
        self._inbox = Inbox(sock)
        self._left_groups = LeftGroups()
        self._poller = select.poll()
        self._by_number: dict[int, ForkedJob] = {}
        self._by_pidfd: dict[int, ForkedJob] = {}
        self._removals: dict[int, tuple[int, JobEnd]] = {}
        """By pidfd of a process that removes a job's directory: how that job ended."""
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if able.view else -1

    def run(self) -> None:
        """Tell the slave what this node is able to do.  Serve until it closes the socket; then end every job."""
        self._poller.register(self._sock, select.POLLIN)
        try:
            self._sock.sendall(protocol.framed(self._able))
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
                        if running.holds or not running.root or remove_tree(running.root, _AT_ONCE):
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
                    self._tell(SpawnFailed(request.process, "launcher", error.errno or 0, reason_of(error)))
                finally:
                    for fd in stdio:
                        os.close(fd)
            case SignalProcess(process, signum):
                running = self._by_number.get(process)
                if running is not None:
                    self._send(running, signum)
            case FindFirst(process):
                running = self._by_number.get(process)
                frame = protocol.framed(FirstFound(process, running is not None))
                if running is None:
                    self._sock.sendall(frame)
                else:
                    socket.send_fds(self._sock, [frame], [running.pidfd])
            case _:
                assert_never(request)

    def _start(self, start: Start, stdio: tuple[int, int, int]) -> None:
        try:
            group = self._group(start)
        except OSError as error:
            self._tell(SpawnFailed(start.process, "limits", error.errno or 0, reason_of(error)))
            return
        holds = program.holds(start)
        try:
            report, writer = _socket_pair() if holds else os.pipe()
        except OSError:
            group.remove()
            raise
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
            # No descriptor is left.  A job that we could not wait for must not run.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(report)
            group.remove()
            raise
        plain_root = start.view.root
        running = ForkedJob(start.process, pid, pidfd, report, start.view.kind == "plain", plain_root, group, holds)
        self._by_number[start.process] = running
        self._by_pidfd[pidfd] = running
        self._poller.register(pidfd, select.POLLIN)

    def _group(self, start: Start) -> Group:
        """The group of a job, if it has a bound that needs one: making a group costs more than the fork."""
        if start.request.limits.max_procs is None and start.request.limits.mem_bytes is None:
            return _NO_GROUP
        return Cgroups.here().make(start.request.limits, self._left_groups)

    def _fork(self, start: Start, group: Group, stdio: tuple[int, int, int], writer: int) -> int:
        if start.view.kind == "plain":
            launcher = os.getpid()
            return _forked(lambda: plain.main(start, group, stdio, writer, launcher))
        # Only the next child is process 1 of a new PID namespace: setns(2) brings us back to our own.
        kernel.unshare(kernel.CLONE_NEWPID)
        try:
            return _forked(lambda: init.main(start, group, stdio, writer))
        finally:
            kernel.setns(self._own_pids, kernel.CLONE_NEWPID)

    def _send(self, running: ForkedJob, signum: int) -> None:
        """Send it to the init or shim, which passes it on.  That one is not reaped yet, so its pid is still its own."""
        if signum == signal.SIGKILL and running.plain:
            signum = plain.END
        elif signum == signal.SIGSTOP:
            signum = program.STOP
        os.kill(running.pid, signum)

    def _bury(self, running: ForkedJob) -> JobEnd:
        """The init or shim is dead, and its namespace with it: read its report."""
        self._poller.unregister(running.pidfd)
        del self._by_number[running.process], self._by_pidfd[running.pidfd]
        os.waitpid(running.pid, 0)
        os.close(running.pidfd)
        directory, told = _held(running.report) if running.holds else (-1, os.read(running.report, _REPORT_BYTES))
        os.close(running.report)
        if running.plain and not told:
            # The shim was killed, so the processes below it are our children now.
            plain.end_below(but=self._own_children())
        running.group.remove()
        if not told:
            outcome: protocol.LauncherAnswer = protocol.ProgramEnded(running.process, 0, signal.SIGKILL, False)
        else:
            outcome = protocol.answer(told[4:])
        assert not isinstance(outcome, Abilities | FirstFound)
        if isinstance(outcome, protocol.ProgramEnded):
            return msgspec.structs.replace(outcome, directory=directory)
        if directory >= 0:
            os.close(directory)
        return outcome

    def _remove(self, root: bytes, ending: JobEnd) -> None:
        """Remove a job's directory in another process: a program may have left millions of files there."""
        try:
            pid = _forked(lambda: _removing(root))
        except OSError:
            # No process can be made: the next slave removes the directory.
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

    def _removed(self, pidfd: int) -> JobEnd:
        pid, ending = self._removals.pop(pidfd)
        self._poller.unregister(pidfd)
        os.waitpid(pid, 0)
        os.close(pidfd)
        return ending

    def _own_children(self) -> frozenset[int]:
        removers = (pid for pid, _ending in self._removals.values())
        return frozenset((*(running.pid for running in self._by_number.values()), *removers))

    def _tell(self, outcome: JobEnd) -> None:
        frame = protocol.framed(outcome)
        if isinstance(outcome, protocol.ProgramEnded) and outcome.directory >= 0:
            # It is short: the socket takes all of it at once, or waits.
            socket.send_fds(self._sock, [frame], [outcome.directory])
            os.close(outcome.directory)
        else:
            self._sock.sendall(frame)

    def _end_all(self) -> None:
        for running in self._by_number.values():
            self._send(running, signal.SIGKILL)
        for running in list(self._by_number.values()):
            self._bury(running)
            if running.root:
                remove_tree(running.root)
        for pidfd in list(self._removals):
            self._removed(pidfd)


def _socket_pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _held(report: int) -> tuple[int, bytes]:
    """The handle of a job's directory, -1 if it did not come, and the report; b"" if its first process was killed."""
    directory, told = -1, b""
    with socket.socket(fileno=os.dup(report)) as reports:
        while True:
            data, handles, _, _ = socket.recv_fds(reports, _REPORT_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            if not data:
                return directory, told
            if handles:
                directory = handles[0]
                data = data.removeprefix(program.HELD)
            told += data


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
