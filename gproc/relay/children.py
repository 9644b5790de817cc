"""The children of this node: it accepts connections, decides which nodes may join, and receives their messages.

A connection on the command port becomes that of a child or of a peer, or is refused with a log line that says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gproc.addresses import host_of, neighbourhood_of
from gproc.errors import LinkLost, PeerError, TrustError
from gproc.link import shares
from gproc.link.allowance import Allowance
from gproc.link.connection import Link, Receiver, Traffic, watch_link
from gproc.link.door import Door
from gproc.link.refusals import Refusals
from gproc.link.shift import Shift
from gproc.link.transport import HANDSHAKE_S, secure
from gproc.link.turns import Turns, Verdict
from gproc.relay.adoption import shown_number
from gproc.relay.belonging import JoinRefused
from gproc.relay.early import EarlyWords
from gproc.relay.membership import (
    Admit,
    BulkOpened,
    ChildEvent,
    ChildMembership,
    ChildState,
    ConnectionLost,
    Part,
    TimedOutJoining,
)
from gproc.relay.polled import Polled
from gproc.relay.served import ServedPeer
from gproc.request.acts import Act
from gproc.spread.sending import ChunkProvider, ChunkSender
from gproc.trust import tls
from gproc.trust.renewal import RENEWAL_S, RENEWALS_AT_ONCE
from gproc.wire import frames, messages
from gproc.wire.directions import CHILD_TO_PARENT, OPENING, ChildToParent, Opening
from gproc.wire.endings import Acknowledged, Release
from gproc.wire.merging import AnswerOutput
from gproc.wire.messages import Join, NodeInfo, PeerHello, Run, Want

if TYPE_CHECKING:
    from gproc.trust.endpoint import Endpoint

log = logging.getLogger("gproc")

HURRY_S: Final = 10.0
"""Seconds that a connection may take to identify itself, if another one waits for its place.  An honest one takes some
milliseconds of this process's time, but of 640 slaves that start on two processors each waits for its own."""


class ChildOwner(ChunkProvider, Protocol):
    """The node that has the children: the master, or a slave."""

    def admit(self, join: Join) -> int:
        """The id of a node that wants to join.  Raises: JoinRefused if it may not."""

    def child_arrived(self, child: Child) -> None: ...

    def child_left(self, child: Child, reason: str) -> None: ...

    def child_said(self, child: Child, message: ChildToParent) -> None: ...

    def child_output(self, child: Child, job: int, rank: int, stream: int, offset: int, data: memoryview) -> None: ...

    def may_want(self, child: Child, bundle: bytes) -> bool:
        """Whether a job that the child has a part in has this bundle."""

    async def may_serve(self, ticket: messages.Signed) -> bytes:
        """The digest of the bundle of the job with this ticket.  Raises: TrustError if this node has no such job."""


class Child(Receiver[ChildToParent]):
    """A child.  It takes part in jobs as a `relay.relayed_job.Downstream`, if its `membership` allows it."""

    direction = CHILD_TO_PARENT

    def __init__(self, owner: ChildOwner, id: int, link: Link, join: Join, peer: tls.PeerName) -> None:
        self.id = id
        self.peer = peer
        self.link = link
        self.node: NodeInfo = join.node
        self.token = join.token
        self.membership = ChildMembership()
        self.ended = False
        """Whether it has said that it ends, and that nothing runs on it any more."""
        self.renewals = Allowance(RENEWALS_AT_ONCE, RENEWAL_S, time.monotonic())
        """Bounds the questions for certificates that are passed on for it and for the nodes below it."""
        self.slow = False
        """Whether it was slow in the last large broadcast that it took part in."""
        self._owner = owner
        self._bulk: Link | None = None
        self._early = EarlyWords()
        self.polled = Polled()
        self._sender: ChunkSender | None = None

    def start(self, run: Run) -> None:
        self.link.send(run)

    def obey(self, job: int, act: Act | None, order: messages.Signed) -> None:
        self.link.send(messages.JobOrder(job, order))

    def stdin(self, job: int, block: frames.InputBlock) -> None:
        self.link.write(frames.input_frame(job, block))

    def credit(self, job: int, stream: int, size: int) -> None:
        self.link.send(messages.Credit(job, stream, size))

    def acknowledge(self, taken: Acknowledged) -> None:
        self.link.send(taken)

    def answer(self, answer: AnswerOutput) -> None:
        self.link.send(answer)

    def release(self, word: Release) -> None:
        self.link.send(word)

    def set_sources(self, message: messages.SetSources) -> None:
        self.link.send(message)

    def as_peer(self) -> messages.Peer:
        """The name and address by which other nodes dial it."""
        return messages.Peer(self.node.name, self.node.address)

    # Its two connections: control and bulk

    def on_message(self, link: Link, message: ChildToParent) -> None:
        if self.membership.state is ChildState.JOINING:
            # The nodes above must hear of this child first, because they judge by it what it announces below itself.
            self._early.add(message)
        elif link is not self._bulk:
            self._owner.child_said(self, message)
        elif isinstance(message, Want) and self._sender is not None:
            if self._owner.may_want(self, message.bundle):
                self._sender.want(message)
            else:
                reason = "no job of this node or of those below it has that bundle"
                link.send(messages.Unavailable(message.bundle, message.digests, reason))
        else:
            raise PeerError(f"{type(message).__name__} on a bulk connection")

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, offset: int, data: memoryview) -> None:
        self._owner.child_output(self, job, rank, stream, offset, data)

    def on_lost(self, link: Link, reason: str) -> None:
        self._move(ConnectionLost(reason, link is self._bulk))

    @property
    def present(self) -> bool:
        """Whether it has both connections.  Before that, it takes part in nothing."""
        return self.membership.state is ChildState.PRESENT

    def attach(self, bulk: Link) -> None:
        """Raises: PeerError for a second bulk connection."""
        if self.membership.state is not ChildState.JOINING:
            raise PeerError("a second bulk connection of one node")
        self._bulk = bulk
        bulk.receiver = self
        bulk.allow_slow_reader()
        self._sender = ChunkSender(self._owner, bulk)
        self._move(BulkOpened())

    def say_goodbye(self, reason: str) -> None:
        """It ends, by its own word."""
        self.ended = True
        self._move(ConnectionLost(reason, bulk=False))

    def dismiss(self, reason: str) -> None:
        """Drop the child, and tell it why."""
        if self.membership.state is not ChildState.GONE:
            self.link.send(messages.Shutdown(reason))
            self.link.end(reason)
            self._move(ConnectionLost(reason, bulk=False))

    def replace(self) -> None:
        """The same process has connected again, so these connections are of no use."""
        if self.membership.state is not ChildState.GONE:
            self._move(ConnectionLost("it has connected again", bulk=False))

    def give_up_waiting(self) -> None:
        """Called when the time for opening the bulk connection is over."""
        self._move(TimedOutJoining(HANDSHAKE_S))

    def _move(self, event: ChildEvent) -> None:
        match self.membership.handle(event):
            case Admit():
                self._owner.child_arrived(self)
                for message in self._early.take():
                    self._owner.child_said(self, message)
            case Part(reason):
                self._part(reason)
            case None:
                return

    def _part(self, reason: str) -> None:
        if self._sender is not None:
            self._sender.stop()
            self._sender = None
        for link in (self._bulk, self.link):
            if link is not None and not link.lost and not link.ending:
                link.abort(reason)
        self._owner.child_left(self, reason)


class _Newcomer(Receiver[Opening]):
    """Receives the first message of a connection."""

    direction = OPENING

    def __init__(self) -> None:
        self.first: asyncio.Future[Opening] = asyncio.get_running_loop().create_future()

    def on_message(self, link: Link, message: Opening) -> None:
        if self.first.done():
            raise PeerError("it did not wait to be let in")
        self.first.set_result(message)

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.first.done():
            self.first.set_exception(LinkLost(reason))
            self.first.exception()


class Children:
    """The command port and the nodes that connected to it.  `by_id` holds the children that are connected now."""

    def __init__(self, owner: ChildOwner, endpoint: Endpoint, link_timeout_s: float) -> None:
        self.by_id: dict[int, Child] = {}
        self.traffic = Traffic()
        self.port = 0
        self._owner = owner
        self._endpoint = endpoint
        self._link_timeout_s = link_timeout_s
        self._by_token: dict[bytes, Child] = {}
        self._door: Door[str] = Door(shares.newcomers(), neighbourhood_of, self._greet, self._log_repeated, HURRY_S)
        self._nodes: Turns[str, Link] = Turns(shares.nodes())
        """The connections that have identified themselves."""
        self._refusals = Refusals()

    def listen(self, host: str, port: int) -> None:
        """Open the command port; 0: any free one.  Raises: OSError."""
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=1024)
        else:
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            listener = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=dual)
        self.port = listener.getsockname()[1]
        self._door.open(listener)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self.by_id.values()))

    def free_id(self, kept: Collection[int] = ()) -> int:
        """The lowest id that no child has.  kept: free ids that are kept for other nodes."""
        number = 1
        while number in self.by_id or number in kept:
            number += 1
        return number

    async def close(self, message: messages.Message) -> None:
        """Send this to every child, and close the port."""
        self._door.close()
        for child in self:
            child.link.send(message)
        for child in self:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await child.link.drain()
            child.link.close()

    async def _greet(self, connection: socket.socket, near: str) -> None:
        """Make a child of a connection, or refuse it with a log line.  near: its `neighbourhood_of`."""
        newcomer = _Newcomer()
        link = Link(None, newcomer, traffic=self.traffic, shift=Shift())
        repeated = False
        try:
            link.peer = f"{host_of(connection)}:{connection.getpeername()[1]}"
            await self._introduce(connection, near, newcomer, link)
            return
        except JoinRefused as error:
            self._log_repeated(near, str(error), link.peer)
            link.send(messages.RefuseJoin(str(error), error.final))
            link.close()
            return
        except TimeoutError:
            reason = f"it sent {_sent(link)} for {HANDSHAKE_S:.0f} s"
        except (PeerError, LinkLost) as error:
            reason = str(error)
        except TrustError as error:
            reason, repeated = str(error), True
        except OSError as error:
            reason, repeated = tls.explain(error), True
        except asyncio.CancelledError:
            reason = "it has not said who it is, and others wait for their turn"
        if repeated and link.channel != frames.CHANNEL_PEER:
            self._log_repeated(near, reason, link.peer)
        elif self._door.is_open and self._refusals.may_log(near, time.monotonic()):
            log.warning("refused %s: %s", link.peer, reason)
        link.abort(reason)
        if not link.connected:
            connection.close()

    async def _introduce(self, connection: socket.socket, near: str, newcomer: _Newcomer, link: Link) -> None:
        """Let a connection in when it has identified itself.

        Raises: GprocError, OSError if it may not come in.
        """
        host, address = host_of(connection), link.peer
        watch_link(connection, self._link_timeout_s)
        await secure(connection, self._endpoint.server, link, server_side=True)
        peer = tls.peer_name(link.extra("ssl_object"))  # type: ignore[arg-type]
        link.peer = f"{peer} at {address}"
        await link.opened()
        async with asyncio.timeout(HANDSHAKE_S):
            first = await newcomer.first
        if self._nodes.arrive(near, link) is not Verdict.IN:
            full = "too many connections of nodes are open, or of those at its address"
            raise JoinRefused(full, final=False) if isinstance(first, Join) else PeerError(full)
        link.gone.add_done_callback(lambda _: self._nodes.leave(near))
        if why := self._endpoint.vetting.objection(peer):
            # Not final: the host may be given another certificate.
            raise JoinRefused(why, final=False) if isinstance(first, Join) else TrustError(why)
        await self._let_in(link, first, peer, host)
        if isinstance(first, Join):
            self._refusals.forget(near)

    def _log_repeated(self, near: str, reason: str, peer: str | None = None) -> None:
        """Log a refusal that will come again: a slave dials again after one, a peer that wants a bundle does not."""
        if (told := self._refusals.note(near, reason, time.monotonic())) is not None:
            log.warning("refused %s: %s", peer or near, told)

    async def _let_in(self, link: Link, first: Opening, peer: tls.PeerName, host: str) -> None:
        match first:
            case PeerHello(ticket) if link.channel == frames.CHANNEL_PEER:
                bundle = await self._owner.may_serve(ticket)
                if link.lost:  # meanwhile, so it would never be told that
                    raise LinkLost("it has gone")
                link.receiver = ServedPeer(self._owner, link, bundle)
                link.allow_slow_reader()
                link.send(messages.PeerReady())
            case messages.Attach(token) if link.channel == frames.CHANNEL_BULK:
                child = self._by_token.get(token)
                if child is None or child.node.name != peer.name:
                    raise PeerError("a bulk connection of a node that has not joined")
                child.attach(link)
            case Join() if link.channel == frames.CHANNEL_CONTROL:
                self._join(link, first, peer, host)
            case _:
                raise PeerError(f"{type(first).__name__} as the first message on channel {link.channel}")

    def _join(self, link: Link, join: Join, peer: tls.PeerName, host: str) -> None:
        if peer.role != "node":
            raise TrustError(f"its certificate names the {peer}, and only a node may join")
        if join.node.name != peer.name:
            raise TrustError(f"it says that it is {join.node.name}, and its certificate is of {peer.name}")
        id = self._owner.admit(join)
        # A node that dials this address checks the certificate there, so a false one only makes this node unreachable.
        stated, _, port = join.node.address.rpartition(":")
        node = msgspec.structs.replace(
            join.node, address=f"{stated or host}:{port}", since_s=time.time(), serial=peer.serial
        )
        child = Child(self._owner, id, link, messages.Join(join.token, id, join.explicit_id, node), peer)
        link.receiver = child
        link.peer = f"node {shown_number(id)} ({peer.name})"
        self.by_id[id] = child
        self._by_token[child.token] = child
        link.send(messages.Welcome(id, host))
        asyncio.get_running_loop().call_later(HANDSHAKE_S, child.give_up_waiting)

    def remove(self, child: Child) -> None:
        """Forget a child that has lost its connection."""
        self._by_token.pop(child.token, None)
        if self.by_id.get(child.id) is child:
            del self.by_id[child.id]


def _sent(link: Link) -> str:
    """What a newcomer has sent so far."""
    if link.channel is None:
        return "no preface"
    return "half a frame and then nothing" if link.waiting else "nothing"
