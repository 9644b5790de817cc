"""The master: root of the tree, signer of tickets, and what people's commands talk to.

Whom it trusts: the kernel's word (SO_PEERCRED) for who a client is, and nobody's for anything else.  It never
opens a path that a client or a node named; what it keeps for the nodes came as chunks and was hashed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shlex
import signal
import time
from typing import TYPE_CHECKING, Final

from gproc.errors import EXIT_GPROC, EXIT_TIMED_OUT, EXIT_USAGE, SpecError, StoreError
from gproc.nodespec import NodeSpec, Path, fold, format_path
from gproc.relay.hub import Hub
from gproc.relay.relayed_job import RelayedJob
from gproc.service.clients import Client, Clients
from gproc.spread.passing import PassingFetcher
from gproc.tree import branches, number
from gproc.trust.ticket import SESSION_BYTES, Grant, Signer, Ticket
from gproc.wire import frames, messages
from gproc.wire.messages import Accepted, Arrived, Left, NodeState, Rejected, Run, Submit, TreeState

if TYPE_CHECKING:
    import ssl

    from gproc.store.store import Store
    from gproc.trust.caller import Caller
    from gproc.trust.identity import Identity

log = logging.getLogger("gproc")

SHOWN_CHARACTERS: Final = 200
"""Of a command in the log: some two lines of a terminal."""

POLL_S: Final = 1.0
"""How long `gproc i` waits for the slowest node's load."""

GRACE_S: Final = 1.0
"""Between SIGTERM and SIGKILL when a job's time is up: DESIGN, issue 2: everything has ended within 2 s."""


class Job:
    """A job as the master sees it; the `Upstream` of its passage, in front of the client that asked for it."""

    def __init__(
        self, master: Master, client: Client, number: int, ticket: messages.Signed, bundle: bytes,
        paths: tuple[Path, ...],
    ) -> None:  # fmt: skip
        self.number = number
        self.paths = paths
        self.client: Client | None = client
        self.relayed = RelayedJob(number, ticket, bundle, self)
        self.timer: asyncio.TimerHandle | None = None
        self._master = master
        self._timed_out = False
        self._remaining = set(range(len(paths)))

    def send(self, message: messages.Message) -> None:
        if isinstance(message, messages.Finished):
            if message.rank not in self._remaining:
                return
            self._remaining.discard(message.rank)
            if self._timed_out and not message.outcome.lost:
                outcome = messages.Outcome(EXIT_TIMED_OUT, message.outcome.signal)
                message = messages.Finished(self.number, message.rank, outcome)
        if self.client is not None:
            self.client.link.send(message)
        if not self._remaining:
            self._master.job_done(self)

    def write(self, frame: bytes) -> None:
        """Output, for the client; without one it is thrown away, so that programs can end."""
        if self.client is not None:
            self.client.link.write(frame)
            return
        _, _, stream, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        self.relayed.credit_from_upstream(stream, len(data))

    def time_is_up(self) -> None:
        self._timed_out = True
        self.relayed.signal(signal.SIGTERM)
        self.timer = asyncio.get_running_loop().call_later(GRACE_S, self.relayed.signal, signal.SIGKILL)

    def client_left(self) -> None:
        self.client = None
        self.relayed.signal(signal.SIGKILL)
        for stream in (frames.STDOUT, frames.STDERR):
            self.relayed.credit_from_upstream(stream, 1 << 62)

    def running_at(self) -> list[Path]:
        return [self.paths[rank] for rank in self._remaining]


class Master(Hub):
    """The one master of a cluster.  `run()` lasts until the process is told to end."""

    def __init__(
        self, *, identity: Identity, context: ssl.SSLContext, signer: Signer, store: Store, link_timeout_s: float
    ) -> None:
        super().__init__(store, context, link_timeout_s)
        self.fetcher = PassingFetcher(store, self)
        self.clients = Clients(self)
        self._identity = identity
        self._signer = signer
        self._session = os.urandom(SESSION_BYTES)
        self._sequence = itertools.count(1)
        self._since_s = time.time()
        self._jobs: dict[int, Job] = {}
        self._offers: dict[bytes, list[Client]] = {}
        """Who brought a bundle; the first of them is asked for its chunks."""
        self._wanted: dict[bytes, set[bytes]] = {}
        """Chunks by bundle that a client was asked for and has not sent."""
        self._polls: dict[int, _Poll] = {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.end)
        self.heartbeats.start()
        await self.stopped
        self.heartbeats.stop()
        log.info("shutting down %d nodes", len(self.tree))
        self.clients.close()
        await self.children.close(messages.Shutdown("the master has ended"))

    # What clients ask: `gproc.service.clients.JobService`

    def submit(self, client: Client, caller: Caller, request: Submit) -> None:
        """Start a job, or say why not."""
        try:
            spec = NodeSpec.parse(request.nodes)
            exclusion = NodeSpec.parse_exclusion(request.exclude) if request.exclude else None
            connected = self.tree.paths()
            chosen = spec.select(connected, exclusion)
            missing = spec.missing(connected, exclusion)
        except SpecError as error:
            client.link.send(Rejected(EXIT_USAGE, str(error)))
            return
        if not chosen:
            client.link.send(Rejected(EXIT_GPROC, self._nobody(request, missing)))
            return
        if request.terminal_size is not None and len(chosen) > 1:
            reason = f"--tty is for one node, and {request.nodes} are {len(chosen)}: {fold(chosen)}"
            client.link.send(Rejected(EXIT_USAGE, reason))
            return
        ranks = number(chosen)
        sequence = next(self._sequence)
        ticket = Ticket(
            session=self._session, sequence=sequence, uid=caller.uid, gid=caller.gid, groups=caller.groups,
            argv=request.argv, env=request.env, cwd=request.cwd, umask=request.umask, manifest=request.bundle,
            targets=request.nodes, exclude=request.exclude, limits=request.limits,
            bundle_bytes=request.bundle_bytes, terminal_size=request.terminal_size, action=request.action,
        )  # fmt: skip
        signed = self._signer.sign_ticket(ticket)
        job = Job(self, client, sequence, signed, request.bundle, tuple(ranks))
        client.jobs[sequence] = job.relayed
        self._jobs[sequence] = job
        if request.bundle and client not in (offering := self._offers.setdefault(request.bundle, [])):
            offering.append(client)
        log.info("job %d: uid %d on %s: %s", sequence, caller.uid, fold(chosen), shown(request.argv))
        client.link.send(Accepted(sequence, job.paths, missing, frames.CLIENT_WINDOW_BYTES))
        run = Run(
            sequence, len(chosen), signed, messages.Branch(-1, branches(ranks)),
            frames.CLIENT_WINDOW_BYTES, request.stdin,
        )  # fmt: skip
        if request.timeout_s is not None:
            job.timer = asyncio.get_running_loop().call_later(request.timeout_s, job.time_is_up)
        self.pass_on(job.relayed, run, {}, request.bundle_bytes)

    def _nobody(self, request: Submit, missing: str) -> str:
        if not len(self.tree):
            return "no node is connected: start slaves with 'gproc s'"
        if missing:
            return f"not connected: {missing}"
        without = f" without {request.exclude}" if request.exclude else ""
        return f"no connected node fits {request.nodes}{without}; connected: {fold(self.tree.paths())}"

    def job_done(self, job: Job) -> None:
        if self._jobs.pop(job.number, None) is None:
            return
        if job.timer is not None:
            job.timer.cancel()
        if job.client is not None:
            job.client.jobs.pop(job.number, None)
        log.info("job %d: done", job.number)
        # Not at once: the passage that says so is still at it.
        asyncio.get_running_loop().call_soon(self.release, job.number)

    def withdraw(self, client: Client) -> None:
        """A client is gone: its jobs end, and what only it could supply cannot be had."""
        for job in [self._jobs[sequence] for sequence in client.jobs]:
            log.info("job %d: its client is gone", job.number)
            job.client_left()
        for bundle in list(self._offers):
            self.unavailable(client, bundle, "the client that brought the program is gone")

    def unavailable(self, client: Client, bundle: bytes, reason: str) -> None:
        """A client cannot give this bundle: the next one that brought it is asked for the rest."""
        offering = self._offers.get(bundle, [])
        if client not in offering:
            return
        was_asked = client is offering[0]
        offering.remove(client)
        if not offering:
            del self._offers[bundle]
            self._wanted.pop(bundle, None)
            self.fetcher.on_unavailable(self, bundle, reason)
        elif was_asked and self._wanted.get(bundle):
            offering[0].link.send(messages.Want(bundle, tuple(self._wanted[bundle])))

    def piece(self, client: Client, piece: frames.Piece) -> None:
        """What this client was not asked for, or what comes after it said that it lacks the rest, is passed over."""
        for bundle, wanted in self._wanted.items():
            if piece.digest in wanted and client is self._offers[bundle][0]:
                if piece.is_last:
                    wanted.discard(piece.digest)
                self.fetcher.on_piece(self, piece)
                return

    async def inquire(self) -> TreeState:
        """The tree, with every node's load, as far as it comes within POLL_S."""
        serial = next(self._sequence)
        poll = self._polls[serial] = _Poll(len(self.tree))
        self.poll(serial)
        try:
            async with asyncio.timeout(POLL_S):
                await poll.complete.wait()
        except TimeoutError:
            log.info("%d nodes did not say their load", poll.expected - len(poll.loads))
        del self._polls[serial]
        busy: dict[Path, int] = {}
        for job in self._jobs.values():
            for path in job.running_at():
                busy[path] = busy.get(path, 0) + 1
        rows = (NodeState(path, node, busy.get(path, 0), poll.loads.get(path)) for path, node in self.tree.items())
        return TreeState(self._identity.name, self._since_s, tuple(rows))

    # `relay.hub.Hub`

    def tell(self, change: Arrived | Left) -> None:
        """The tree has changed: who is new gets a grant, without which it takes no ticket."""
        if isinstance(change, Left):
            log.info("left: %s: %s", format_path(change.route), change.reason)
            return
        log.info("arrived: %s (%s)", format_path(change.route), change.node.name)
        grant = Grant(self._session, change.node.nonce, change.route, next(self._sequence))
        self.send_grant(change.route, self._signer.sign_grant(grant))

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        offering = self._offers.get(bundle)
        if not offering:
            raise StoreError("no client offers this bundle any more")
        self._wanted.setdefault(bundle, set()).update(digests)
        offering[0].link.send(messages.Want(bundle, digests))

    def child_load(self, message: messages.Load) -> None:
        poll = self._polls.get(message.serial)
        if poll is not None:
            poll.add(message)


def shown(argv: tuple[bytes, ...]) -> str:
    """A command in one line of a log, whatever bytes a caller put into it."""
    words = " ".join(shlex.quote(os.fsdecode(word)) for word in argv[:SHOWN_CHARACTERS])
    line = ascii(words)[1:-1]
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "..."


class _Poll:
    """Loads as they come in."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.loads: dict[Path, float] = {}
        self.complete = asyncio.Event()
        if not expected:
            self.complete.set()

    def add(self, message: messages.Load) -> None:
        self.loads.update(message.loads)
        if len(self.loads) >= self.expected:
            self.complete.set()
