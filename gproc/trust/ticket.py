"""Grants and tickets, and both ends of their signature: `Signer` in the master, `TicketVerifier` in every slave.

A *grant* gives one run of one slave its session and its path.  It is bound to a nonce of that slave, so it has no value
for another slave or after a restart.  A *ticket* is one job of that session.  Each takes the next number of the
session's one sequence, and the verifier accepts only rising numbers: it admits nothing twice, and needs no clock.  The
signed bytes are a context that distinguishes grants from tickets, a version, and the value in msgpack.

PyNaCl needs a sixth of the memory of `cryptography`, in every slave.  Everything here is pure except signing.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from gproc.errors import SpecError, TrustError
from gproc.nodespec import NodeSpec, Path, Place, format_path
from gproc.request.spec import Caller, Request
from gproc.wire.messages import Signed

VERSION: Final = 1
"""The version of both layouts below: the first byte of every payload."""

SESSION_BYTES: Final = 16
NONCE_BYTES: Final = 16
"""128 random bits each, which never occur twice (NIST SP 800-90A asks for as many in a nonce at full strength)."""

_GRANT_CONTEXT: Final = b"gproc grant\0"
_TICKET_CONTEXT: Final = b"gproc ticket\0"

Sequence = Annotated[int, msgspec.Meta(ge=0)]
Session = Annotated[bytes, msgspec.Meta(min_length=SESSION_BYTES, max_length=SESSION_BYTES)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A slave's place in a session.

    nonce: the slave's own, made at its start.  place: its path in the tree.
    sequence: the slave accepts only tickets with higher numbers.
    """

    session: Session
    nonce: Nonce
    place: Place
    sequence: Sequence


class Ticket(msgspec.Struct, frozen=True, array_like=True, kw_only=True, forbid_unknown_fields=True):
    """One job, as its caller asked for it and the master signed it.

    sequence: the number of this ticket in the session.  job: the job's own number, which users see.
    A ticket with an unknown field is refused, because the field may restrict the job.
    """

    session: Session
    sequence: Sequence
    job: Sequence
    caller: Caller
    request: Request


class TicketRefused(TrustError):
    """A grant or ticket that the verifier refused; the verifier's state is unchanged."""


class Forged(TicketRefused):
    """The cluster's master did not sign this."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"a forged {self.what}: this cluster's master did not sign it, or it was changed on its way"


class Unreadable(TicketRefused):
    """The master signed this, but in a form that this gproc does not know."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"an unreadable {self.what} ({self.reason}): run the same gproc here and on the master"


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


class Signer:
    """Signs for the master; `seed` is `Authority.ticket_seed()`."""

    def __init__(self, seed: bytes) -> None:
        self.public_key, self._secret_key = crypto_sign_seed_keypair(seed)

    def sign_grant(self, grant: Grant) -> Signed:
        return self._sign(_GRANT_CONTEXT, grant)

    def sign_ticket(self, ticket: Ticket) -> Signed:
        return self._sign(_TICKET_CONTEXT, ticket)

    def _sign(self, context: bytes, value: Grant | Ticket) -> Signed:
        payload = bytes((VERSION,)) + msgspec.msgpack.encode(value)
        signed = crypto_sign(context + payload, self._secret_key)
        return Signed(payload, signed[:crypto_sign_BYTES])


class TicketVerifier:
    """Admits only jobs that the master meant for this slave, and each of them once.

    public_key: the cluster's ticket key.  nonce: made at this slave's start and sent to the master.  own_uid: the
    effective uid of the slave.  Every refusal is a TicketRefused, and leaves the state unchanged.
    """

    def __init__(self, public_key: bytes, nonce: bytes, own_uid: int) -> None:
        self._public_key = public_key
        self._nonce = nonce
        self._own_uid = own_uid
        self._grant: Grant | None = None
        self._last = -1
        self._left: set[bytes] = set()

    def accept_grant(self, signed: Signed) -> Grant:
        """Take a place, or another place, in a session.  From then on, tickets must have numbers above the grant's.

        A session that was left for another one (after a change of master) cannot be entered again: it is not known
        which numbers it has used, so a late grant could not be distinguished from a replayed one.
        """
        grant = _opened(signed, _GRANT_CONTEXT, self._public_key, "grant", _grant_decoder)
        if grant.nonce != self._nonce:
            raise ForAnotherSlave(grant.place)
        if grant.session in self._left:
            raise ForeignSession("grant", grant.session)
        if self._grant is not None:
            if grant.session == self._grant.session:
                self._check_rises("grant", grant.sequence)
            else:
                self._left.add(self._grant.session)
        self._grant = grant
        self._last = grant.sequence
        return grant

    def admit(self, signed: Signed) -> Ticket:
        """The ticket, if it is genuine and new.  It may be passed on, and may run here after `check_target`."""
        ticket = _opened(signed, _TICKET_CONTEXT, self._public_key, "ticket", _ticket_decoder)
        if self._grant is None or ticket.session != self._grant.session:
            raise ForeignSession("ticket", ticket.session)
        self._check_rises("ticket", ticket.sequence)
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

    def _check_rises(self, what: str, sequence: int) -> None:
        if sequence <= self._last:
            raise Replayed(what, sequence, self._last)


_Value = TypeVar("_Value", Grant, Ticket)
_grant_decoder = msgspec.msgpack.Decoder(Grant)
_ticket_decoder = msgspec.msgpack.Decoder(Ticket)


def _opened(
    signed: Signed, context: bytes, public_key: bytes, what: str, decoder: msgspec.msgpack.Decoder[_Value]
) -> _Value:
    # The signature comes first: no byte that the master did not sign is ever parsed.
    if len(signed.signature) != crypto_sign_BYTES:
        raise Forged(what)
    try:
        crypto_sign_open(signed.signature + context + signed.payload, public_key)
    except BadSignatureError as error:
        raise Forged(what) from error
    version = signed.payload[:1]
    if version != bytes((VERSION,)):
        raise Unreadable(what, f"version {version.hex()}, known is {VERSION:02x}")
    try:
        return decoder.decode(memoryview(signed.payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(what, str(error)) from error


def _selects(request: Request, place: Path) -> bool:
    try:
        if not NodeSpec.parse(request.nodes).selects(place):
            return False
        return not (request.exclude and NodeSpec.parse_exclusion(request.exclude).selects(place))
    except SpecError as error:
        raise Unreadable("ticket", f"its targets: {error.reason}") from error
