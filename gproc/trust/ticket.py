"""Grants and tickets: what a slave accepts of the master, across relays that it does not trust.

A *grant* gives one run of one slave its session and its place.  It is bound to a nonce of that slave, so it has no
value for another slave or after a restart.  A *ticket* is one job of that session.  Each takes the next number of the
session's one sequence, and the verifier accepts only rising numbers, so it admits nothing twice.

A ticket also says until when it may begin, by the master's clock.  A node knows enough of that clock to tell a ticket
that a relay held back: `gproc.trust.lease`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gproc.errors import SpecError
from gproc.nodespec import NodeSpec, Path, Place, format_path
from gproc.request.spec import Caller, Request
from gproc.trust.lease import ClockMs, Lease, LeaseKeeper, boottime_s
from gproc.trust.orders import JobInput, JobOrders, TreeEnds
from gproc.trust.signing import Context, Nonce, Sequence, Session, TicketRefused, Unreadable, opened
from gproc.wire.messages import Signed

START_WITHIN_S: Final = 30.0
"""A ticket reaches its nodes within this time of its signature, or not at all.  A busy tree takes seconds."""

LEAST_START_S: Final = 5.0
"""A job with a shorter time limit still reaches its nodes: then they say that its time is up."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A slave's place in a session.

    nonce: the slave's own, made at its start.  place: its path in the tree.
    sequence: the slave accepts only tickets with higher numbers.  clock_ms: the master's clock.
    """

    session: Session
    nonce: Nonce
    place: Place
    sequence: Sequence
    clock_ms: ClockMs


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


class ForAnotherSlave(TicketRefused):
    """A grant bound to another nonce: another slave's, or this slave's before it was restarted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"a grant for {format_path(self.path)} that was made for another slave, or before this one's start"


class ForeignSession(TicketRefused):
    """A ticket of a session that this slave is not in, or a grant into one that it has left."""

    def __init__(self, what: str, session: bytes) -> None:
        super().__init__(what, session)
        self.what = what
        self.session = session

    def __str__(self) -> str:
        return f"a {self.what} of session {self.session.hex()}, to which this slave does not belong (any more)"


class Replayed(TicketRefused):
    """A number that is not above the last one of its session."""

    def __init__(self, what: str, sequence: int, last: int) -> None:
        super().__init__(what, sequence, last)
        self.what = what
        self.sequence = sequence
        self.last = last

    def __str__(self) -> str:
        return f"a replayed {self.what}: number {self.sequence} comes after number {self.last}"


class NotForMe(TicketRefused):
    """A genuine ticket whose targets leave this node out."""

    def __init__(self, job: int, path: Path, targets: str, exclude: str) -> None:
        super().__init__(job, path, targets, exclude)
        self.job = job
        self.path = path
        self.targets = targets
        self.exclude = exclude

    def __str__(self) -> str:
        excluded = f" without {self.exclude}" if self.exclude else ""
        return f"job {self.job} is for {self.targets}{excluded}, not for this node, {format_path(self.path)}"


class ForeignUser(TicketRefused):
    """A job of a user that this slave cannot become."""

    def __init__(self, job: int, uid: int, own_uid: int) -> None:
        super().__init__(job, uid, own_uid)
        self.job = job
        self.uid = uid
        self.own_uid = own_uid

    def __str__(self) -> str:
        return (
            f"job {self.job} is of uid {self.uid}, and this slave runs as uid {self.own_uid}, so it runs only "
            "that user's jobs: start it as root to serve every user"
        )


class HeldBack(TicketRefused):
    """A ticket that came later than it may begin."""

    def __init__(self, job: int, late_ms: int) -> None:
        super().__init__(job, late_ms)
        self.job = job
        self.late_ms = late_ms

    def __str__(self) -> str:
        return f"job {self.job} was to begin {self.late_ms / 1000:.1f} s ago at the latest: something held it back"


class NoLease(TicketRefused):
    """A ticket that came while the node has no lease."""

    def __init__(self, job: int) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        return f"job {self.job} came while this node has no lease: the master has not answered it for too long"


class WrongPlace(TicketRefused):
    """A grant for a place that this slave did not take."""

    def __init__(self, place: Path, number: int) -> None:
        super().__init__(place, number)
        self.place = place
        self.number = number

    def __str__(self) -> str:
        return f"a grant for {format_path(self.place)}, but this is number {self.number} below its parent"


class TicketVerifier:
    """Admits only jobs that the master meant for this slave, and each of them once.

    public_key: the cluster's ticket key.  nonce: made at this slave's start and sent to the master.  own_uid: the
    effective uid of the slave.  clock_s: CLOCK_BOOTTIME, in seconds.
    Every refusal is a TicketRefused, and leaves the state unchanged.
    """

    def __init__(
        self, public_key: bytes, nonce: bytes, own_uid: int, clock_s: Callable[[], float] = boottime_s
    ) -> None:
        self.lease = LeaseKeeper()
        self._public_key = public_key
        self._nonce = nonce
        self._own_uid = own_uid
        self._clock_s = clock_s
        self._grant: Grant | None = None
        self._last = -1
        self._left: set[bytes] = set()

    def joining(self) -> None:
        """A request to join goes out: its answer is a grant, which is the first lease too."""
        self.lease.ask(self._nonce, self._clock_s())

    def accept_grant(self, signed: Signed, number: int | None = None) -> Grant:
        """Take a place, or another place, in a session.  From then on, tickets must have numbers above the grant's.

        number: this slave's number below its parent; None: it does not matter.
        A session that was left for another one (after a change of master) cannot be entered again: it is not known
        which numbers it has used, so a late grant could not be distinguished from a replayed one.
        """
        grant = opened(Context.GRANT, signed, self._public_key, _grant_decoder)
        if grant.nonce != self._nonce:
            raise ForAnotherSlave(grant.place)
        if number is not None and grant.place[-1:] != (number,):
            raise WrongPlace(grant.place, number)
        if grant.session in self._left:
            raise ForeignSession("grant", grant.session)
        if self._grant is not None:
            if grant.session == self._grant.session:
                self._check_rises("grant", grant.sequence)
            else:
                self._left.add(self._grant.session)
                self.lease.end()
        self._grant = grant
        self._last = grant.sequence
        self.lease.answered(grant.nonce, grant.clock_ms, self._clock_s())
        return grant

    def ask_lease(self) -> bytes:
        """A new nonce, to be sent to the master."""
        return self.lease.ask_anew(self._clock_s())

    def accept_lease(self, signed: Signed) -> Lease | None:
        """Take a lease.  None: it answers no question of this node, or came too late; a later one may do."""
        lease = opened(Context.LEASE, signed, self._public_key, _lease_decoder)
        if self._grant is None or lease.session != self._grant.session:
            raise ForeignSession("lease", lease.session)
        return lease if self.lease.answered(lease.nonce, lease.clock_ms, self._clock_s()) else None

    def admit(self, signed: Signed) -> Ticket:
        """The ticket, if it is genuine, new and in time.  After `check_target` it may run here too."""
        ticket = opened(Context.TICKET, signed, self._public_key, _ticket_decoder)
        if self._grant is None or ticket.session != self._grant.session:
            raise ForeignSession("ticket", ticket.session)
        self._check_rises("ticket", ticket.sequence)
        now_s = self._clock_s()
        if not self.lease.holds(now_s):
            raise NoLease(ticket.job)
        late_ms = self.lease.clock_ms(now_s) - ticket.start_by_ms
        if late_ms > 0:
            raise HeldBack(ticket.job, late_ms)
        self._last = ticket.sequence
        return ticket

    def check_target(self, ticket: Ticket) -> None:
        """Check that an admitted ticket may run on this node.

        Raises: NotForMe if its targets leave this node out; ForeignUser if this slave cannot become its user.
        """
        place = () if self._grant is None else self._grant.place
        if not _selects(ticket.request, place):
            raise NotForMe(ticket.job, place, ticket.request.nodes, ticket.request.exclude)
        if self._own_uid not in (0, ticket.caller.uid):
            raise ForeignUser(ticket.job, ticket.caller.uid, self._own_uid)

    def orders_of(self, ticket: Ticket) -> JobOrders:
        """Opens the orders for an admitted job."""
        return JobOrders(self._public_key, ticket.session, ticket.job)

    def input_of(self, ticket: Ticket) -> JobInput:
        """Opens the standard input of an admitted job."""
        return JobInput(self._public_key, ticket.session, ticket.job)

    def check_end(self, signed: Signed, *, from_master: bool) -> None:
        """Check that the master ends this tree.

        from_master: it comes on a connection to the master itself, which need not have granted anything yet.
        """
        end = opened(Context.END, signed, self._public_key, _end_decoder)
        ours = from_master if self._grant is None else end.session == self._grant.session
        if not ours:
            raise ForeignSession("end", end.session)

    def _check_rises(self, what: str, sequence: int) -> None:
        if sequence <= self._last:
            raise Replayed(what, sequence, self._last)


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
