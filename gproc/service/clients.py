"""The master's Unix socket and the clients that are connected to it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, assert_never, cast

from gproc.errors import GprocError, LinkLost, PeerError, TrustError
from gproc.link import shares
from gproc.link.connection import Link, Receiver, Traffic
from gproc.link.door import Door
from gproc.link.refusals import Refusals
from gproc.link.transport import HANDSHAKE_S
from gproc.policy.rules import PolicyLimits
from gproc.request.spec import Caller
from gproc.service.accounts import Account, Accounts, bounds_of
from gproc.service.gathered_input import GatheredInput
from gproc.service.listening import Listener, listeners, made_again
from gproc.service.live import LiveJob
from gproc.service.polling import TreeInquiries
from gproc.service.service import JobService
from gproc.service.views import JobView
from gproc.shown import reason_of
from gproc.trust.caller import caller_of, uid_of
from gproc.wire import frames, messages
from gproc.wire.directions import CLIENT_TO_MASTER, ClientToMaster
from gproc.wire.job_messages import (
    AskFailed,
    AskFaults,
    Detach,
    Dismissed,
    DrainNodes,
    FindNodes,
    KillJob,
    ListJobs,
    RemoveJobs,
    SubmitKept,
    ViewJob,
)
from gproc.wire.messages import Submit
from gproc.wire.stacks import AskStacks
from gproc.wire.task_messages import SubmitTasks

log = logging.getLogger("gproc")

INQUIRIES_MAX: Final = 64
"""Questions about the tree and about jobs that one client may have open."""

UNREAD_REFUSALS_BYTES: Final = 256 << 10
"""Refusals that wait for a client that does not read: those of some thousand requests."""

UNREAD_S: Final = 10.0
"""Seconds that a client has to read such an answer, because its user's other commands may wait for that."""

BACKLOG: Final = 1024
"""Connections that the kernel holds until we accept them."""

LOOK_S: Final = 5.0
"""Between two looks for this master's own sockets: two lstat(2).  So long commands may find none."""

WELCOME: Final = frames.preface(frames.CHANNEL_CLIENT)
"""It says that the master is at work.  A client that has to wait for its turn must know that too."""

TOO_MANY: Final = messages.frame(
    Dismissed("too many connections of its user are open and wait already: let some commands end first")
)
"""The answer to a client that may not even wait for its turn."""


class _Question(NamedTuple):
    """answer: makes the answer."""

    serial: int
    answer: Callable[[], Awaitable[messages.Message]]


class Client(Receiver[ClientToMaster]):
    """One connection of a client.

    jobs: the jobs that it started and did not leave.  views: by number, what it sees of other jobs.
    """

    direction = CLIENT_TO_MASTER

    def __init__(
        self, service: JobService, inquiries: TreeInquiries, account: Account, traffic: Traffic,
        refused: Callable[[str], None], ended: Callable[[str], None],
    ) -> None:  # fmt: skip
        """refused: called with the reason if the client is dropped before its first request.  ended: called if it is
        dropped later.
        """
        self.account = account
        self.jobs: dict[int, LiveJob] = {}
        self.spoken = asyncio.Event()
        self.link = Link(None, self, account, traffic, welcomed=True, shift=account.shift)
        self.views: dict[int, JobView] = {}
        self.looking: set[asyncio.Task[None]] = set()
        self._gathered = GatheredInput(self._give_input, lambda reason: self.on_fault(self.link, reason))
        self._unread_bytes = 0
        """Refusals that were sent since the client last had read most of what waits for it."""
        self._caller: Caller | None = None
        self._service = service
        self._tree = inquiries
        self._refused = refused
        self._ended = ended
        self._inquiries: deque[_Question] = deque()
        self._answering: asyncio.Task[None] | None = None

    async def greet(self) -> None:
        """Drop the connection if the client sends no request within HANDSHAKE_S."""
        try:
            await self.link.opened()
            if self.link.channel != frames.CHANNEL_CLIENT:
                raise PeerError(f"it opened channel {self.link.channel}")
            async with asyncio.timeout(HANDSHAKE_S):
                await self.spoken.wait()
        except TimeoutError:
            half = "half a frame and then nothing" if self.link.waiting else "nothing"
            self.link.abort(f"it sent {half} for {HANDSHAKE_S:.0f} s")
        except (LinkLost, PeerError) as error:
            self.link.abort(str(error))  # `on_lost` says it

    def caller(self) -> Caller:
        """The user, as the kernel knew that process when it connected.  Raises: PeerError."""
        if self._caller is None:
            try:
                self._caller = caller_of(cast(socket.socket, self.link.extra("socket")))
            except TrustError as error:
                raise PeerError(str(error)) from error
        return self._caller

    def on_message(self, link: Link, message: ClientToMaster) -> None:
        match message:
            case Submit() | SubmitKept() | SubmitTasks():
                self._service.submit(self, self.caller(), message)
            case messages.SignalJob(number, signum):
                if (job := self._seen(number)) is not None:
                    job.signal(signum)
            case messages.Resize(number, size):
                if (job := self._seen(number)) is not None:
                    job.resize(size)
            case messages.Credit(number, stream, size):
                if (live := self.jobs.get(number)) is not None:
                    live.credited(self.link, stream, size)
                elif (view := self.views.get(number)) is not None:
                    view.credited(stream, size)
            case messages.Unavailable(bundle, _, reason):
                self._service.unavailable(self, bundle, reason)
            case messages.Inquire(serial):
                self._asked(serial, lambda: self._tree.answer(serial))
            case ListJobs(serial):
                caller = self.caller()
                self._asked(serial, lambda: self._service.list_jobs(message, caller))
            case Detach(number):
                self._gathered.flush(number)
                if number in self.views:
                    self.views[number].leave()
                else:
                    self._service.leave(self, number)
            case ViewJob():
                self._service.others.view(self, self.caller(), message)
            case KillJob(serial):
                caller = self.caller()
                self._asked(serial, lambda: self._service.others.kill(message, caller))
            case AskStacks(serial):
                caller = self.caller()
                self._asked(serial, lambda: self._service.others.stacks(message, caller))
            case AskFailed(serial):
                caller = self.caller()
                self._asked(serial, lambda: self._service.others.failed(message, caller))
            case AskFaults(serial):
                self._asked(serial, lambda: self._tree.list_faults(serial))
            case DrainNodes(serial):
                caller = self.caller()
                self._asked(serial, lambda: self._tree.drain(message, caller))
            case FindNodes(serial):
                self._asked(serial, lambda: self._tree.find(message))
            case RemoveJobs(serial):
                caller = self.caller()
                self._asked(serial, lambda: self._service.others.remove(message, caller))
            case _:
                assert_never(message)
        self.spoken.set()

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, offset: int, data: memoryview) -> None:
        if stream != frames.STDIN:
            raise PeerError("output from a client")
        if (seen := self._seen(job)) is not None:
            self._gathered.add(job, bytes(data), seen.block_bytes)

    def _give_input(self, job: int, data: bytes) -> None:
        if (seen := self._seen(job)) is not None:
            seen.stdin(data)

    def _seen(self, number: int) -> LiveJob | JobView | None:
        """The job or the view of this number."""
        return self.jobs.get(number) or self.views.get(number)

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        self._service.on_piece(self, piece)

    def on_fault(self, link: Link, reason: str) -> None:
        if link.channel == frames.CHANNEL_CLIENT:
            link.send(Dismissed(reason))
        if self.spoken.is_set():
            self._ended(reason)
        link.end(reason)

    def refuse(self, refusal: messages.Rejected) -> None:
        """Tell the client that something is not done.  If it asks again and again, and does not read the answers, it is
        dropped."""
        if self.link.ending:
            return
        frame = messages.frame(refusal)
        self._unread_bytes = self._unread_bytes + len(frame) if self.link.congested else 0
        if self._unread_bytes > UNREAD_REFUSALS_BYTES:
            self.on_fault(self.link, "it does not read its answers, and asks on and on")
        else:
            self.link.write(frame)

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.spoken.is_set():
            if not link.left:  # else the client only wanted to know whether the master is here
                self._refused(reason)
            self.spoken.set()
        self._gathered.flush_all()
        for task in self.looking:
            task.cancel()
        self._service.withdraw(self)

    def _asked(self, serial: int, answer: Callable[[], Awaitable[messages.Message]]) -> None:
        if len(self._inquiries) >= INQUIRIES_MAX:
            raise PeerError(f"more than {INQUIRIES_MAX} questions before it read the answers")
        self._inquiries.append(_Question(serial, answer))
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        """Answer one question after the other, each when the client has read the former answer."""
        while self._inquiries and not self.link.lost:
            async with self.account.inquiries:
                question = self._inquiries.popleft()
                try:
                    self.link.send(await question.answer())
                except GprocError as error:
                    self.link.send(messages.Rejected(question.serial, error.exit_status, str(error)))
                try:
                    async with asyncio.timeout(UNREAD_S):
                        await self.link.drain()
                except TimeoutError:
                    self.link.abort(f"it did not read an answer for {UNREAD_S:.0f} s")


class Clients:
    """The master's Unix sockets and their connections."""

    def __init__(self, service: JobService, inquiries: TreeInquiries, limits: PolicyLimits) -> None:
        self.traffic = Traffic()
        self._service = service
        self._inquiries = inquiries
        self._listeners: list[Listener] = []
        self._looking: asyncio.Task[None] | None = None
        trusted = frozenset({0, os.geteuid()})
        places = shares.clients(limits.user_connections)
        self._door: Door[int] = Door(
            places, uid_of, self._visit, self._log_repeated, trusted=trusted, welcome=WELCOME,
            farewell=TOO_MANY,
        )  # fmt: skip
        self._refusals = Refusals()
        self._accounts = Accounts(bounds_of(limits), trusted)

    async def listen(self, path: str) -> list[str]:
        """Begin to listen.  Returns the paths.  Raises: GprocError with the obstacle."""
        self._listeners = listeners(path)
        for listener in self._listeners:
            listener.socket.listen(BACKLOG)
            self._door.open(listener.socket)
        self._looking = asyncio.create_task(self._look_after())
        return [listener.path for listener in self._listeners]

    async def _look_after(self) -> None:
        """Make a socket again that was removed, as by a cleaner of /tmp: without it, no command finds this master."""
        while True:
            await asyncio.sleep(LOOK_S)
            for index, listener in enumerate(self._listeners):
                if not listener.is_there:
                    self._make_again(index, listener)

    def _make_again(self, index: int, former: Listener) -> None:
        try:
            again = made_again(former)
            if again is None:
                raise GprocError(
                    f"{former.path} is not this master's socket any more, and no command finds it there: remove what "
                    f"is there, and it makes its own again, or end this master (process {os.getpid()})"
                )
        except (GprocError, OSError) as error:
            if (told := self._refusals.note(former.path, reason_of(error), time.monotonic())) is not None:
                log.warning("%s", told)
            return
        log.warning("the socket %s was removed, and is made again", former.path)
        self._listeners[index] = again
        again.socket.listen(BACKLOG)
        self._door.shut(former.socket)
        self._door.open(again.socket)

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._door.close()
        for listener in self._listeners:
            listener.remove()

    async def _visit(self, connection: socket.socket, uid: int) -> None:
        """Serve a client until its connection ends."""
        account = self._accounts.open(uid)
        client = Client(
            self._service, self._inquiries, account, self.traffic, lambda reason: self._log("refused", uid, reason),
            lambda reason: self._log("ended the connection of", uid, reason),
        )  # fmt: skip
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: client.link, connection)
            await client.greet()
            await asyncio.shield(client.link.gone)
        finally:
            client.link.abort("the master has ended")
            self._accounts.close(account)

    def _log_repeated(self, uid: int, reason: str) -> None:
        if (told := self._refusals.note(str(uid), reason, time.monotonic())) is not None:
            log.warning("refused a client of uid %d: %s", uid, told)

    def _log(self, what: str, uid: int, reason: str) -> None:
        if self._refusals.may_log(str(uid), time.monotonic()):
            log.warning("%s a client of uid %d: %s", what, uid, reason)
