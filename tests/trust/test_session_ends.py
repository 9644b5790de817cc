"""A slave that was cut off when its master ended hears of the end from a later master, and from no other peer."""

from __future__ import annotations

import pytest

from gproc.nodespec import Place
from gproc.trust.orders import TreeEnds
from gproc.trust.signing import Context, Forged, Signer
from gproc.trust.ticket import Grant, TicketVerifier
from gproc.trust.untaken import ForAnotherSlave, ForeignSession, SessionEnded
from gproc.wire.messages import Signed
from tests.trust.test_ticket import MASTER, NEXT_SESSION, NONCE, NOW_MS, OWN_UID, SESSION, STRANGER, a_ticket, sign

OTHER_NONCE = b"o" * 16


def later(*ended: bytes, nonce: bytes = NONCE, signer: Signer = MASTER) -> Signed:
    """A grant of a later master.  ended: the sessions of which it says that they have ended."""
    grant = Grant(NEXT_SESSION, nonce, Place((1, 7)), 5, NOW_MS, ended=ended)
    return signer.sign(Context.GRANT, grant)


@pytest.fixture
def verifier() -> TicketVerifier:
    verifier = TicketVerifier(MASTER.public_key, NONCE, OWN_UID)
    verifier.joining()
    verifier.accept_grant(MASTER.sign(Context.GRANT, Grant(SESSION, NONCE, Place((1, 7)), 0, NOW_MS)))
    return verifier


def test_a_later_master_says_that_the_session_of_a_slave_has_ended(verifier: TicketVerifier) -> None:
    with pytest.raises(SessionEnded):
        verifier.accept_grant(later(b"x" * 16, SESSION))
    assert verifier.session == SESSION


def test_a_master_that_knows_of_no_end_takes_the_slave_into_its_own_session(verifier: TicketVerifier) -> None:
    verifier.accept_grant(later(b"x" * 16))
    assert verifier.session == NEXT_SESSION


def test_the_end_of_other_sessions_does_not_concern_a_slave_whose_master_came_back(verifier: TicketVerifier) -> None:
    grant = Grant(SESSION, NONCE, Place((1, 7)), 9, NOW_MS, ended=(NEXT_SESSION,))
    verifier.accept_grant(MASTER.sign(Context.GRANT, grant))
    verifier.joining()
    assert verifier.admit(sign(a_ticket(10))).sequence == 10


def test_a_grant_to_the_node_above_proves_the_end_to_those_below(verifier: TicketVerifier) -> None:
    verifier.check_end(later(SESSION, nonce=OTHER_NONCE), from_master=False)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        (later(SESSION, nonce=OTHER_NONCE, signer=STRANGER), Forged),
        (later(nonce=OTHER_NONCE), Forged),
        (MASTER.sign(Context.END, TreeEnds(NEXT_SESSION)), ForeignSession),
        (STRANGER.sign(Context.END, TreeEnds(SESSION)), Forged),
    ],
)
def test_a_relay_cannot_say_that_the_session_has_ended(
    verifier: TicketVerifier, said: Signed, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        verifier.check_end(said, from_master=False)


def test_a_grant_to_another_slave_ends_nobody_as_a_grant(verifier: TicketVerifier) -> None:
    with pytest.raises(ForAnotherSlave):
        verifier.accept_grant(later(SESSION, nonce=OTHER_NONCE))
    assert verifier.session == SESSION
