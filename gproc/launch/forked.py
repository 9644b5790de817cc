"""The launcher process as the slave sees it.  It starts jobs if there is no static helper, and the slave's own tasks.

The slave forks it before anything else, without any thread, event loop or large import.  The launcher is a copy of the
slave as it is then, and copies its own memory for every job: so it should have little.  It can also be started later,
as a process without the slave's memory.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from gproc import interpreter
from gproc.errors import LaunchError
from gproc.launch import protocol
from gproc.launch.launcher import END_S, HELD, Launcher, Process
from gproc.launch.protocol import FindFirst, FirstFound, Inbox, JobEnd, ProgramEnded, SignalProcess, SpawnFailed, Start
from gproc.request.signals import can_be_passed
from gproc.root.abilities import Abilities

if TYPE_CHECKING:
    import asyncio  # after the fork: the launcher does without it

_SERVE_FD: Final = 3

_SERVE: Final = f"""
import socket, sys
sys.path += sys.argv[2:]
from gproc.launch import serving
serving.main(socket.socket(fileno={_SERVE_FD}), private=sys.argv[1] == "1")
"""
"""With -I and -S, Python finds only its own modules and those in the directories that we name."""

_LOST = "the launcher of this node died; start the slave again"


class ForkedLauncher(Launcher):
    def __init__(self, sock: socket.socket, child: int, abilities: Abilities, inbox: Inbox) -> None:
        self._sock = sock
        self._child = child
        self._inbox = inbox
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_exit: dict[int, Callable[[JobEnd], None]] = {}
        self._finding: dict[int, list[asyncio.Future[int]]] = {}
        """The callbacks that wait for the pid of a job's first process, by the job's number."""
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._lost = False
        self.abilities = abilities

    @classmethod
    def forked(cls, *, private: bool) -> ForkedLauncher:
        """Start the launcher process and learn what it can do, in some 10 ms.

        private: give jobs namespaces and a view of their own, if the node allows it (`-p`).

        Raises: LaunchError if it dies at once.
        """
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # Imported here because only the launcher needs ctypes.
                from gproc.launch import serving

                serving.main(theirs, private=private)
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        inbox = Inbox(ours)
        abilities = _first_answer(inbox)
        if abilities is None:
            _, status = os.waitpid(child, 0)
            raise LaunchError(f"the launcher did not start (wait status {status:#x})")
        if abilities.view:
            # The launcher is this child's child, because a PID namespace begins with the next process.
            os.waitpid(child, 0)
            child = 0
        ours.setblocking(False)
        return cls(ours, child, abilities, inbox)

    @classmethod
    def executed(cls, abilities: Abilities) -> ForkedLauncher:
        """Start a launcher that shares none of this process's memory.  Its abilities are known already.

        It loads modules only from directories from which the slave loaded its own.

        Raises: OSError.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            words = [*interpreter.command(), "-I", "-S", "-c", _SERVE, str(int(abilities.view)), *_module_places()]
            child = os.posix_spawn(
                words[0], words, {"PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _SERVE_FD)],
            )  # fmt: skip
        ours.setblocking(False)
        return cls(ours, child, abilities, Inbox(ours))

    @property
    def lost(self) -> bool:
        """Whether it is dead."""
        return self._lost

    @property
    def idle(self) -> bool:
        """Whether none of its jobs runs."""
        return not self._on_exit

    @property
    def child(self) -> int:
        """The launcher's pid as a child of this process; 0 if it is none."""
        return self._child

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._sock, self._receive)

    def spawn(self, start: Start, stdin: int, stdout: int, stderr: int, on_exit: Callable[[JobEnd], None]) -> Process:
        fds = (stdin, stdout, stderr)
        try:
            if self._lost:
                raise LaunchError(_LOST)
            frame = protocol.framed(start)
        except BaseException as error:
            _close(fds)
            if isinstance(error, ValueError):
                raise LaunchError(str(error)) from error
            raise
        self._on_exit[start.process] = on_exit
        self._send(frame, fds)
        return Process(self, start.process)

    def send_signal(self, number: int, signum: int) -> None:
        if not can_be_passed(signum):
            raise ValueError(f"signal {signum} cannot be passed on to a job")
        if number in self._on_exit and not self._lost:
            self._send(protocol.framed(SignalProcess(number, signum)), ())

    async def first_process(self, number: int) -> int:
        if number not in self._on_exit or self._lost:
            return 0
        assert self._loop is not None, "attach first"
        found: asyncio.Future[int] = self._loop.create_future()
        self._finding.setdefault(number, []).append(found)
        self._send(protocol.framed(FindFirst(number)), ())
        return await found

    def _found(self, answer: FirstFound) -> None:
        pid = _pid_of(self._inbox.fds.popleft()) if answer.there else 0
        waiting = self._finding.get(answer.process, [])
        if waiting and not (found := waiting.pop(0)).done():
            found.set_result(pid)
        if not waiting:
            self._finding.pop(answer.process, None)

    def _find_no_more(self) -> None:
        finding, self._finding = self._finding, {}
        for found in (each for waiting in finding.values() for each in waiting):
            if not found.done():
                found.set_result(0)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._find_no_more()
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
        self._on_exit.clear()
        while self._outgoing:
            _close(self._outgoing.popleft()[1])
        self._sock.settimeout(END_S)
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while self._inbox.receive():
                pass
        except TimeoutError:
            logging.getLogger("gproc").warning("the processes of jobs do not end, though they are killed: %s", HELD)
            self._child = 0
        except OSError as error:
            # It died before us.
            if error.errno not in (errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE):
                raise
        finally:
            self._sock.close()
        if self._child:
            os.waitpid(self._child, 0)
            self._child = 0

    def _send(self, frame: bytes, fds: tuple[int, ...]) -> None:
        self._outgoing.append((memoryview(frame), fds))
        if len(self._outgoing) == 1:
            self._flush()

    def _flush(self) -> None:
        """Send as much as the socket takes now, and the rest later."""
        assert self._loop is not None, "attach first"
        try:
            while self._outgoing:
                data, fds = self._outgoing[0]
                sent = socket.send_fds(self._sock, [data], fds) if fds else self._sock.send(data)
                _close(fds)
                if sent < len(data):
                    self._outgoing[0] = (data[sent:], ())
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._flush)
            return
        except (BrokenPipeError, ConnectionResetError):
            self._lose()
            return
        self._loop.remove_writer(self._sock)

    def _receive(self) -> None:
        try:
            alive = self._inbox.receive()
        except BlockingIOError:
            return
        except ConnectionResetError:
            alive = False
        for frame in self._inbox.frames():
            outcome = protocol.answer(frame)
            if isinstance(outcome, ProgramEnded) and outcome.directory >= 0:
                # The number is the launcher's own; the handle came with the frame.
                outcome = msgspec.structs.replace(outcome, directory=self._inbox.fds.popleft())
            if isinstance(outcome, ProgramEnded | SpawnFailed):
                self._on_exit.pop(outcome.process)(outcome)
            elif isinstance(outcome, FirstFound):
                self._found(outcome)
            elif outcome.view and self._child:
                # An executed launcher has forked the real one, as `forked` has: reap the first.
                os.waitpid(self._child, 0)
                self._child = 0
        if not alive:
            self._lose()

    def _lose(self) -> None:
        """The launcher is dead, and all its jobs with it: report the end of each."""
        if self._lost:
            return
        self._lost = True
        self._find_no_more()
        assert self._loop is not None
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        while self._outgoing:
            _close(self._outgoing.popleft()[1])
        orphans, self._on_exit = self._on_exit, {}
        for number, on_exit in orphans.items():
            self._loop.call_soon(on_exit, SpawnFailed(number, "launcher", errno.EPIPE, _LOST))


def _pid_of(pidfd: int) -> int:
    """Its pid in our namespace, and 0 if it has ended: pidfd_open(2).  Closes the pidfd."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as info:
            words = next((line.split() for line in info if line.startswith("Pid:")), ["", "0"])
        return max(0, int(words[1]))
    finally:
        os.close(pidfd)


def _module_places() -> list[str]:
    """The directories from which gproc and the packages that it needs were loaded, and no others of Python's path."""
    loaded = (sys.modules[name].__file__ for name in ("gproc", "msgspec"))
    return list(dict.fromkeys(os.path.dirname(os.path.dirname(os.path.abspath(file))) for file in loaded if file))


def _first_answer(inbox: Inbox) -> Abilities | None:
    while inbox.receive():
        for frame in inbox.frames():
            answer = protocol.answer(frame)
            assert isinstance(answer, Abilities)
            return answer
    return None


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
