"""Grants and tickets: what a slave accepts of the master, across relays that it does not trust.

A *grant* gives one run of one slave its session and its place.  It is bound to a nonce of that slave, so it has no
value for another slave or after a restart.  A *ticket* is one job of that session.  Each takes the next number of the
session's one sequence, and the verifier remembers the numbers that it has seen, so it admits nothing twice.  It need
not remember those of tickets that are too old to begin.

A ticket also says until when it may begin, by the master's clock.  A node knows enough of that clock to tell a ticket
that a relay held back: `gproc.trust.lease`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from gproc.errors import SpecError
from gproc.nodespec import LEVELS_MAX, NodeSpec, Path, Place
from gproc.request.spec import Caller, Request
from gproc.trust.lease import LEASE_S, ClockMs, Lease, LeaseKeeper, boottime_s
from gproc.trust.orders import JobInput, JobOrders, JobWords, TreeEnds
from gproc.trust.signing import (
    Context,
    Forged,
    Keys,
    KeysOfJob,
    Nonce,
    Sequence,
    Session,
    TicketRefused,
    TrustedKeys,
    Unreadable,
    opened,
)
from gproc.trust.turn import read_turn
from gproc.trust.untaken import (
    ForAnotherSlave,
    ForeignSession,
    ForeignUser,
    HeldBack,
    NoLease,
    NotForMe,
    Replayed,
    SessionEnded,
    WrongPlace,
)
from gproc.wire.messages import Name, Signed

START_WITHIN_S: Final = 30.0
"""A ticket reaches its nodes within this time of its signature, or not at all.  A busy tree takes seconds."""

FORGET_AT: Final = 1024
"""Tickets that a node remembers before it looks which of them are too old to begin."""

ENDED_MAX: Final = 16
"""How many ended sessions a grant names.  So a node that was cut off when its own session ended hears of it, unless as
many more have ended since."""

LEAST_START_S: Final = 5.0
"""A job with a shorter time limit still reaches its nodes: then they say that its time is up."""


class Ancestor(msgspec.Struct, frozen=True, array_like=True):
    """A node that a slave may dial if its parent is gone.  name: in its certificate; "": it is the master.
    address: "host:port"."""

    name: Name
    address: Name


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A slave's place in a session.

    nonce: the slave's own, made at its start.  place: its path in the tree.
    sequence: the slave accepts only tickets with higher numbers than its first grant's.  clock_ms: the master's clock.
    lease_s: how long a lease lasts.  ancestors: those above its parent, the nearest first.
    jobs: the numbers of the jobs that have not ended; a slave drops all others.  date_s: Unix time.
    ended: the last sessions of former masters that ended cleanly: a slave that is in one of them ends.
    """

    session: Session
    nonce: Nonce
    place: Place
    sequence: Sequence
    clock_ms: ClockMs
    lease_s: Annotated[float, msgspec.Meta(gt=0)] = LEASE_S
    ancestors: Annotated[tuple[Ancestor, ...], msgspec.Meta(max_length=LEVELS_MAX)] = ()
    jobs: tuple[Sequence, ...] = ()
    date_s: float = 0.0
    ended: Annotated[tuple[Session, ...], msgspec.Meta(max_length=ENDED_MAX)] = ()


class Ticket(msgspec.Struct, frozen=True, array_like=True, kw_only=True, forbid_unknown_fields=True):
    """One job, as its caller asked for it and the master signed it.

    sequence: the number of this ticket in the session.  job: the job's own number, which users see.
    start_by_ms: a node that gets it later, by the master's clock, does not begin it.
    A ticket with an unknown field is refused, because the field may restrict the job.
    """

    session: Session
    sequence: Sequence
    job: Sequence
    start_by_ms: ClockMs
    caller: Caller
    request: Request


def start_by_ms(clock_ms: int, request: Request) -> int:
    """Until when a job that the master takes now may begin on its nodes."""
    limit_s = START_WITHIN_S if request.timeout_s is None else min(START_WITHIN_S, request.timeout_s)
    return clock_ms + int(max(LEAST_START_S, limit_s) * 1000)


def read_grant(signed: Signed, keys: Keys) -> Grant:
    """The grant that the master has signed for some node.  Raises: TicketRefused if it did not sign it."""
    return opened(Context.GRANT, signed, keys, _grant_decoder)


class TicketVerifier:
    """Admits only jobs that the master meant for this slave, and each of them once.

    public_key: the cluster's ticket key.  nonce: made at this slave's start and sent to the master.  own_uid: the
    effective uid of the slave.  clock_s: CLOCK_BOOTTIME, in seconds.
    Every refusal is a TicketRefused, and leaves the state unchanged.
    """

    def __init__(
        self, public_key: bytes | TrustedKeys, nonce: bytes, own_uid: int, clock_s: Callable[[], float] = boottime_s
    ) -> None:
        self.lease = LeaseKeeper()
        self._keys = public_key if isinstance(public_key, TrustedKeys) else TrustedKeys(public_key)
        self._nonce = nonce
        self._own_uid = own_uid
        self._clock_s = clock_s
        self._grant: Grant | None = None
        self.signed_grant: Signed | None = None
        """The last grant, to show it to another parent."""
        self._first = -1
        """The number of the session's first grant."""
        self._seen: dict[int, int] = {}
        """The tickets that were admitted, by number, with the time until which they could begin."""
        self._look_again_at = FORGET_AT
        self._left: set[bytes] = set()

    @property
    def session(self) -> bytes | None:
        """The master's session; None before the first grant."""
        return None if self._grant is None else self._grant.session

    def joining(self) -> None:
        """A request to join goes out: its answer is a grant, which is the first lease too."""
        self.lease.ask(self._nonce, self._clock_s())

    def accept_grant(self, signed: Signed, number: int | None = None) -> Grant:
        """Take a place in a session.  Its tickets must have numbers above that of its first grant.

        number: this slave's number below its parent; None: it is another node's child, or has a place already.
        A session that was left for another one (after a change of master) cannot be entered again: it is not known
        which numbers it has used, so a late grant could not be distinguished from a replayed one.
        """
        grant = read_grant(signed, self._keys)
        if grant.nonce != self._nonce:
            raise ForAnotherSlave(grant.place)
        if number is not None and grant.place[-1:] != (number,):
            raise WrongPlace(grant.place, number)
        if grant.session in self._left:
            raise ForeignSession("grant", grant.session)
        if self._grant is not None:
            if grant.session == self._grant.session:
                if grant.sequence <= self._grant.sequence:
                    raise Replayed("grant", grant.sequence, self._grant.sequence)
                if grant.place != self._grant.place:
                    raise WrongPlace(grant.place, self._grant.place)
            else:
                if self._grant.session in grant.ended:
                    raise SessionEnded(signed)
                self._left.add(self._grant.session)
                self.lease.end()
        if self._grant is None or grant.session != self._grant.session:
            self._first = grant.sequence
            self._seen.clear()
        self._grant, self.signed_grant = grant, signed
        self.lease.lease_s = grant.lease_s
        self.lease.answered(grant.nonce, grant.clock_ms, self._clock_s())
        return grant

    def ask_lease(self) -> bytes:
        """A new nonce, to be sent to the master."""
        return self.lease.ask_anew(self._clock_s())

    def accept_lease(self, signed: Signed) -> Lease | None:
        """Take a lease.  None: it answers no question of this node, or came too late; a later one may do."""
        lease = opened(Context.LEASE, signed, self._keys, _lease_decoder)
        if self._grant is None or lease.session != self._grant.session:
            raise ForeignSession("lease", lease.session)
        return lease if self.lease.answered(lease.nonce, lease.clock_ms, self._clock_s()) else None

    def read(self, signed: Signed) -> Ticket:
        """The ticket, if it is genuine.  It may be passed on to nodes below; each of them admits it or not."""
        ticket = opened(Context.TICKET, signed, self._keys, _ticket_decoder)
        if self._grant is None or ticket.session != self._grant.session:
            raise ForeignSession("ticket", ticket.session)
        return ticket

    def admit(self, signed: Signed) -> Ticket:
        """The ticket, if it is genuine, new and in time.  After `check_target` it may run here too."""
        ticket = self.read(signed)
        # If a job runs on so many nodes at a time, its turn says whether and until when a node may begin: `check_turn`.
        has_turns = ticket.request.fanout is not None
        if ticket.sequence <= self._first and not has_turns:
            raise Replayed("ticket", ticket.sequence, self._first)
        if ticket.sequence in self._seen:
            raise Replayed("ticket", ticket.sequence)
        by_ms = None if has_turns else ticket.start_by_ms
        self._remember(ticket, self._in_time(ticket.job, by_ms))
        return ticket

    def _in_time(self, job: int, start_by_ms: int | None) -> int:
        """The master's clock.  start_by_ms: until when the job may begin; None: this is not asked here.

        Raises: NoLease, HeldBack.
        """
        now_s = self._clock_s()
        if not self.lease.holds(now_s):
            raise NoLease(job)
        clock_ms = self.lease.clock_ms(now_s)
        if start_by_ms is not None and clock_ms > start_by_ms:
            raise HeldBack(job, clock_ms - start_by_ms)
        return clock_ms

    def _remember(self, ticket: Ticket, clock_ms: int) -> None:
        """Note the ticket: from now on it counts as replayed.  Tickets that would be refused as late are forgotten."""
        if len(self._seen) >= self._look_again_at:
            self._seen = {number: by_ms for number, by_ms in self._seen.items() if by_ms >= clock_ms}
            self._look_again_at = max(FORGET_AT, 2 * len(self._seen))
        self._seen[ticket.sequence] = ticket.start_by_ms

    def never_admit(self, ticket: Ticket) -> None:
        """This slave has signed that the job does not begin here."""
        self._seen[ticket.sequence] = max(self._seen.get(ticket.sequence, 0), ticket.start_by_ms)

    def check_target(self, ticket: Ticket) -> None:
        """Check that an admitted ticket may run on this node.

        Raises: NotForMe if its targets leave this node out; ForeignUser if this slave cannot become its user.
        """
        place = () if self._grant is None else self._grant.place
        if not _selects(ticket.request, place):
            raise NotForMe(ticket.job, place, ticket.request.nodes, ticket.request.exclude)
        if self._own_uid not in (0, ticket.caller.uid):
            raise ForeignUser(ticket.job, ticket.caller.uid, self._own_uid)

    def check_turn(self, ticket: Ticket, signed: Signed | None) -> None:
        """Check that a job that runs on so many nodes at a time may begin on this one now.

        signed: what came with the ticket.  Raises: TicketRefused.
        """
        if ticket.request.fanout is None:
            return
        place = () if self._grant is None else self._grant.place
        turn = read_turn(signed, self._keys, ticket.session, ticket.job, place)
        if turn.number <= self._first:
            raise Replayed("turn", turn.number, self._first)
        self._in_time(ticket.job, turn.start_by_ms)
        self._seen[ticket.sequence] = max(self._seen.get(ticket.sequence, 0), turn.start_by_ms)

    def words_of(self, ticket: Ticket) -> JobWords:
        """Checks the master's messages for an admitted job."""
        key, session, job = KeysOfJob(self._keys), ticket.session, ticket.job
        return JobWords(JobInput(key, session, job), JobOrders(key, session, job, self._nonce))

    def check_end(self, signed: Signed, *, from_master: bool) -> None:
        """Check that the master ends this tree.

        from_master: it comes on a connection to the master itself, which need not have granted anything yet.
        A grant to another node says it too, if it names the session of this node among those that have ended.
        """
        try:
            end = opened(Context.END, signed, self._keys, _end_decoder)
        except Forged:
            if self._is_ended_by(signed):
                return
            raise
        ours = from_master if self._grant is None else end.session == self._grant.session
        if not ours:
            raise ForeignSession("end", end.session)

    def _is_ended_by(self, signed: Signed) -> bool:
        """Whether this is a grant by which the session of this node has ended."""
        try:
            return self._grant is not None and self._grant.session in read_grant(signed, self._keys).ended
        except TicketRefused:
            return False


_grant_decoder = msgspec.msgpack.Decoder(Grant)
_ticket_decoder = msgspec.msgpack.Decoder(Ticket)
_lease_decoder = msgspec.msgpack.Decoder(Lease)
_end_decoder = msgspec.msgpack.Decoder(TreeEnds)


def _selects(request: Request, place: Path) -> bool:
    try:
        if not NodeSpec.parse(request.nodes).selects(place):
            return False
        return not (request.exclude and NodeSpec.parse_exclusion(request.exclude).selects(place))
    except SpecError as error:
        raise Unreadable("ticket", f"its targets: {error.reason}") from error
