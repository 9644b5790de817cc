"""A job that runs on so many nodes at a time begins on a node only by the master's word for that node, in time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gproc.trust.signing import Context, Forged, Unreadable
from gproc.trust.ticket import Grant, TicketVerifier
from gproc.trust.turn import NotItsTurn, Turn
from gproc.trust.untaken import HeldBack, NoLease, Replayed
from gproc.wire.messages import Signed
from tests.trust.test_ticket import MASTER, NONCE, NOW_MS, OWN_UID, SESSION, STRANGER, a_ticket, sign

TICKET = replace(a_ticket(), request=replace(a_ticket().request, fanout=2))
LATER_S = 45.0
"""The ticket alone would be too old by then; the lease still holds."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def turn(
    nodes: str = "=1/7", *, job: int = 1, session: bytes = SESSION, by_ms: int = NOW_MS + 60_000, number: int = 9
) -> Signed:
    return MASTER.sign(Context.TURN, Turn(session, number, job, nodes, by_ms))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock: Clock) -> TicketVerifier:
    verifier = TicketVerifier(MASTER.public_key, NONCE, OWN_UID, clock)
    verifier.joining()
    verifier.accept_grant(MASTER.sign(Context.GRANT, Grant(SESSION, NONCE, (1, 7), 0, NOW_MS)))  # type: ignore[arg-type]
    return verifier


def test_a_turn_counts_from_its_own_signature_and_not_from_the_tickets(verifier: TicketVerifier, clock: Clock) -> None:
    clock.now_s += LATER_S
    with pytest.raises(HeldBack):
        verifier.admit(sign(a_ticket(2)))
    verifier.check_turn(verifier.admit(sign(TICKET)), turn())
    with pytest.raises(Replayed):
        verifier.admit(sign(TICKET))


def test_a_slave_that_was_started_while_its_node_waited_begins_by_a_turn_and_by_none_from_before_its_start(
    clock: Clock,
) -> None:
    """Its first grant has a higher number than the ticket.  A relay repeats the turn of the slave before it."""
    verifier = TicketVerifier(MASTER.public_key, NONCE, OWN_UID, clock)
    verifier.joining()
    verifier.accept_grant(MASTER.sign(Context.GRANT, Grant(SESSION, NONCE, (1, 7), 20, NOW_MS)))  # type: ignore[arg-type]
    with pytest.raises(Replayed, match="ticket"):
        verifier.admit(sign(a_ticket()))
    ticket = verifier.admit(sign(TICKET))
    with pytest.raises(Replayed, match="turn"):
        verifier.check_turn(ticket, turn(number=20))
    verifier.check_turn(ticket, turn(number=21))


def test_a_job_on_all_nodes_at_once_needs_no_turn(verifier: TicketVerifier) -> None:
    verifier.check_turn(verifier.admit(sign(a_ticket())), None)


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (None, NotItsTurn),
        (turn("=1/8-9"), NotItsTurn),
        (turn(job=2), NotItsTurn),
        (turn(session=b"t" * 16), NotItsTurn),
        (turn(by_ms=NOW_MS - 1), HeldBack),
        (turn("1-"), Unreadable),
        (STRANGER.sign(Context.TURN, Turn(SESSION, 9, 1, "=1/7", NOW_MS + 60_000)), Forged),
        (MASTER.sign(Context.ORDER, Turn(SESSION, 9, 1, "=1/7", NOW_MS + 60_000)), Forged),
    ],
    ids=["none", "of others", "of another job", "of another session", "late", "unreadable", "forged", "an order"],
)
def test_nothing_else_lets_a_node_begin(
    verifier: TicketVerifier, given: Signed | None, refusal: type[Exception]
) -> None:
    ticket = verifier.admit(sign(TICKET))
    with pytest.raises(refusal):
        verifier.check_turn(ticket, given)
    verifier.check_turn(ticket, turn())


def test_no_turn_begins_without_a_lease(verifier: TicketVerifier, clock: Clock) -> None:
    ticket = verifier.admit(sign(TICKET))
    clock.now_s += 61
    with pytest.raises(NoLease):
        verifier.check_turn(ticket, turn(by_ms=NOW_MS + 600_000))


def test_a_ticket_is_remembered_as_long_as_its_turn_counts(verifier: TicketVerifier, clock: Clock) -> None:
    verifier.check_turn(verifier.admit(sign(TICKET)), turn())
    clock.now_s += LATER_S
    for sequence in range(2, 1100):
        verifier.admit(sign(replace(a_ticket(sequence), start_by_ms=NOW_MS + 60_000)))
    with pytest.raises(Replayed):
        verifier.admit(sign(TICKET))
