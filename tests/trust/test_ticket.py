from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gproc.errors import TrustError
from gproc.nodespec import Place
from gproc.request.limits import Limits
from gproc.request.spec import BundleName, Caller, Request
from gproc.trust.signing import Context, Forged, Signer, TicketRefused, Unreadable
from gproc.trust.ticket import Grant, Ticket, TicketVerifier
from gproc.trust.untaken import ForAnotherSlave, ForeignSession, ForeignUser, NotForMe, Replayed, WrongPlace
from gproc.wire.messages import Signed

MASTER = Signer(bytes(range(32)))
STRANGER = Signer(bytes(32))
SESSION, NEXT_SESSION = b"s" * 16, b"t" * 16
NONCE = b"n" * 16
OWN_UID = 1000
NOW_MS = 5_000_000
"""The master's clock at the grant."""


def grant(sequence: int = 0, session: bytes = SESSION, nonce: bytes = NONCE, *path: int) -> Signed:
    return MASTER.sign(Context.GRANT, Grant(session, nonce, Place(path or (1, 7)), sequence, NOW_MS))


def a_ticket(sequence: int = 1, targets: str = "./.", exclude: str = "", uid: int = OWN_UID) -> Ticket:
    request = Request(
        nodes=targets, exclude=exclude, argv=(b"/bin/echo", b"\xff"), env=(b"PATH=/bin",), cwd=b"/home/j\xf6rg",
        bundle=BundleName(b"d" * 32, 5), limits=Limits(max_procs=10),
    )  # fmt: skip
    return Ticket(
        session=SESSION, sequence=sequence, job=sequence, start_by_ms=NOW_MS + 30_000, request=request,
        caller=Caller(uid, 100, (100, 4)),
    )  # fmt: skip


def a_verifier(*, nonce: bytes = NONCE, uid: int = OWN_UID) -> TicketVerifier:
    """The verifier of a slave that has just asked to join."""
    verifier = TicketVerifier(MASTER.public_key, nonce, uid)
    verifier.joining()
    return verifier


def admit_here(verifier: TicketVerifier, signed: Signed) -> Ticket:
    ticket = verifier.admit(signed)
    verifier.check_target(ticket)
    return ticket


def sign(ticket: Ticket) -> Signed:
    return MASTER.sign(Context.TICKET, ticket)


@pytest.fixture
def verifier() -> TicketVerifier:
    verifier = a_verifier()
    verifier.accept_grant(grant())
    return verifier


def test_a_verified_ticket_is_equal_to_the_signed_one(verifier: TicketVerifier) -> None:
    assert verifier.admit(sign(a_ticket())) == a_ticket()


def test_a_grant_gives_the_path() -> None:
    assert TicketVerifier(MASTER.public_key, NONCE, 0).accept_grant(grant()).place == (1, 7)


def test_a_ticket_invented_by_a_relay_is_forged(verifier: TicketVerifier) -> None:
    with pytest.raises(Forged):
        verifier.admit(STRANGER.sign(Context.TICKET, a_ticket()))


def test_a_grant_invented_by_a_relay_is_forged(verifier: TicketVerifier) -> None:
    with pytest.raises(Forged):
        verifier.accept_grant(STRANGER.sign(Context.GRANT, Grant(SESSION, NONCE, Place((1,)), 5, NOW_MS)))


@settings(max_examples=400)
@given(st.data())
def test_a_ticket_changed_in_any_bit_is_forged(data: st.DataObject) -> None:
    verifier = a_verifier()
    verifier.accept_grant(grant())
    signed = sign(a_ticket())
    whole = bytearray(signed.signature + signed.payload)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Forged):
        verifier.admit(Signed(bytes(whole[64:]), bytes(whole[:64])))
    assert verifier.admit(signed) == a_ticket()


@given(payload=st.binary(max_size=100), signature=st.binary(max_size=100))
def test_garbage_is_forged_and_nothing_worse(payload: bytes, signature: bytes) -> None:
    verifier = TicketVerifier(MASTER.public_key, NONCE, OWN_UID)
    for door in (verifier.accept_grant, verifier.admit):
        with pytest.raises(Forged):
            door(Signed(payload, signature))


def test_bytes_moved_between_signature_and_payload_are_forged(verifier: TicketVerifier) -> None:
    signed = sign(a_ticket())
    whole = signed.signature + signed.payload
    for cut in (0, 63, 65, len(whole)):
        with pytest.raises(Forged):
            verifier.admit(Signed(whole[cut:], whole[:cut]))


def test_a_grant_is_never_taken_for_a_ticket_nor_a_ticket_for_a_grant(verifier: TicketVerifier) -> None:
    with pytest.raises(Forged):
        verifier.admit(grant(5))
    with pytest.raises(Forged):
        verifier.accept_grant(sign(a_ticket()))


def test_a_ticket_is_admitted_once(verifier: TicketVerifier) -> None:
    verifier.admit(sign(a_ticket(1)))
    with pytest.raises(Replayed):
        verifier.admit(sign(a_ticket(1)))


def test_a_job_that_this_node_has_refused_for_good_does_not_begin_when_it_comes_again(verifier: TicketVerifier) -> None:
    """The simulator found it: a node without a lease had signed that, had let the job go, and began it later."""
    verifier.never_admit(verifier.read(sign(a_ticket(1))))
    with pytest.raises(Replayed):
        verifier.admit(sign(a_ticket(1)))


def test_tickets_may_come_in_another_order_and_each_of_them_once(verifier: TicketVerifier) -> None:
    """Ways to a node change, so order is not arrival."""
    for sequence in (2, 1):
        assert verifier.admit(sign(a_ticket(sequence))).sequence == sequence
    for sequence in (1, 2):
        with pytest.raises(Replayed, match="was here already"):
            verifier.admit(sign(a_ticket(sequence)))


def test_a_ticket_replayed_after_a_restart_is_refused() -> None:
    """A relay kept the old grant and the ticket.  The restarted slave has a new nonce and a new grant."""
    restarted = a_verifier(nonce=b"m" * 16)
    with pytest.raises(ForAnotherSlave):
        restarted.accept_grant(grant())
    with pytest.raises(ForeignSession):
        restarted.admit(sign(a_ticket(1)))
    restarted.accept_grant(grant(2, SESSION, b"m" * 16))
    with pytest.raises(Replayed):
        restarted.admit(sign(a_ticket(1)))
    assert restarted.admit(sign(a_ticket(3))).sequence == 3


def test_another_slaves_grant_is_refused(verifier: TicketVerifier) -> None:
    with pytest.raises(ForAnotherSlave, match="1/9"):
        verifier.accept_grant(grant(5, SESSION, b"o" * 16, 1, 9))


def test_an_old_grant_is_refused_and_a_new_one_admits_no_ticket_again(verifier: TicketVerifier) -> None:
    verifier.admit(sign(a_ticket(4)))
    verifier.accept_grant(grant(6))
    for old in (0, 3, 6):
        with pytest.raises(Replayed):
            verifier.accept_grant(grant(old))
    with pytest.raises(Replayed):
        verifier.admit(sign(a_ticket(4)))
    assert verifier.admit(sign(a_ticket(5))).sequence == 5


def test_an_old_grant_of_a_session_that_was_left_is_refused(verifier: TicketVerifier) -> None:
    verifier.admit(sign(a_ticket(4)))
    verifier.joining()
    verifier.accept_grant(grant(0, NEXT_SESSION))
    for sequence in (0, 4, 5, 1000):
        with pytest.raises(ForeignSession):
            verifier.accept_grant(grant(sequence))
    with pytest.raises(ForeignSession):
        verifier.admit(sign(a_ticket(5)))


def test_a_new_master_may_count_from_the_start(verifier: TicketVerifier) -> None:
    verifier.admit(sign(a_ticket(4)))
    verifier.joining()
    verifier.accept_grant(grant(0, NEXT_SESSION))
    ticket = replace(a_ticket(1), session=NEXT_SESSION)
    assert verifier.admit(sign(ticket)) == ticket


def test_no_ticket_before_a_grant() -> None:
    with pytest.raises(ForeignSession):
        TicketVerifier(MASTER.public_key, NONCE, OWN_UID).admit(sign(a_ticket()))


@pytest.mark.parametrize(
    ("targets", "exclude"), [("2/7", ""), ("1/8-9", ""), ("=1", ""), ("./.", "1/7"), ("./.", "1/.")]
)
def test_a_ticket_sent_to_nodes_it_does_not_name_is_refused(
    verifier: TicketVerifier, targets: str, exclude: str
) -> None:
    with pytest.raises(NotForMe):
        admit_here(verifier, sign(a_ticket(1, targets, exclude)))


@pytest.mark.parametrize(("targets", "exclude"), [("1/7", ""), ("1/1-9", "1/8"), ("./.", "1")])
def test_a_ticket_for_this_node_is_admitted(verifier: TicketVerifier, targets: str, exclude: str) -> None:
    assert admit_here(verifier, sign(a_ticket(1, targets, exclude))).request.nodes == targets


def test_a_node_keeps_its_place_for_the_whole_session(verifier: TicketVerifier) -> None:
    with pytest.raises(WrongPlace):
        verifier.accept_grant(grant(1, SESSION, NONCE, 2, 1))
    assert admit_here(verifier, sign(a_ticket(2, "1/7"))).sequence == 2


@pytest.mark.parametrize("uid", [0, 1001])
def test_another_local_users_job_is_refused_by_a_slave_that_is_not_root(verifier: TicketVerifier, uid: int) -> None:
    with pytest.raises(ForeignUser, match=f"uid {uid}.*uid {OWN_UID}"):
        admit_here(verifier, sign(a_ticket(uid=uid)))


def test_a_slave_that_is_root_runs_every_users_jobs() -> None:
    verifier = a_verifier(uid=0)
    verifier.accept_grant(grant())
    assert admit_here(verifier, sign(a_ticket(uid=4711))).caller.uid == 4711


def test_a_refused_ticket_leaves_the_verifier_unchanged(verifier: TicketVerifier) -> None:
    of_another = sign(replace(a_ticket(9), session=NEXT_SESSION))
    for refused in (STRANGER.sign(Context.TICKET, a_ticket(9)), of_another):
        with pytest.raises(TicketRefused):
            verifier.admit(refused)
    assert verifier.admit(sign(a_ticket(1))).sequence == 1


def test_a_ticket_for_others_is_passed_on_and_not_run_here(verifier: TicketVerifier) -> None:
    ticket = verifier.admit(sign(a_ticket(1, "=1/8-9")))
    with pytest.raises(NotForMe):
        verifier.check_target(ticket)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(a_ticket(), session=b"s"),
        replace(a_ticket(), caller=Caller(0xFFFF_FFFF, 100, ())),
        replace(a_ticket(), caller=Caller(-1, 100, ())),
        replace(a_ticket(), caller=Caller(OWN_UID, 2**32, ())),
        replace(a_ticket(), caller=Caller(OWN_UID, 100, (-1,))),
        replace(a_ticket(), request=Request(nodes=".", argv=(b"x",), umask=0o1000)),
    ],
    ids=repr,
)
def test_numbers_that_the_kernel_would_misread_are_refused_even_when_signed(
    verifier: TicketVerifier, wrong: Ticket
) -> None:
    with pytest.raises(Unreadable):
        verifier.admit(sign(wrong))


def test_signed_targets_that_do_not_parse_are_refused(verifier: TicketVerifier) -> None:
    with pytest.raises(Unreadable, match="targets"):
        admit_here(verifier, sign(a_ticket(1, "5-1")))


def test_a_ticket_of_another_version_says_so(verifier: TicketVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("gproc.trust.signing.VERSION", 3)
        signed = sign(a_ticket())
    with pytest.raises(Unreadable, match="version 03, known is 02"):
        verifier.admit(signed)


def test_every_refusal_is_one_sentence(verifier: TicketVerifier) -> None:
    refusals: list[TrustError] = []

    def elsewhere(signed: Signed) -> Ticket:
        return admit_here(verifier, signed)

    for door, signed in (
        (verifier.admit, STRANGER.sign(Context.TICKET, a_ticket())),
        (verifier.admit, sign(a_ticket(0))),
        (elsewhere, sign(a_ticket(1, "2", "3"))),
        (elsewhere, sign(a_ticket(2, uid=0))),
        (verifier.accept_grant, grant(1, SESSION, b"o" * 16)),
        (verifier.admit, sign(replace(a_ticket(), session=NEXT_SESSION))),
        (elsewhere, sign(a_ticket(3, "x"))),
    ):
        with pytest.raises(TicketRefused) as refused:
            door(signed)
        refusals.append(refused.value)
    assert len({type(refusal) for refusal in refusals}) == len(refusals)
    assert all("\n" not in str(refusal) and len(str(refusal)) > 20 for refusal in refusals)


def test_a_ticket_with_two_megabytes_of_arguments_is_signed_and_admitted(verifier: TicketVerifier) -> None:
    ticket = replace(a_ticket(), request=Request(nodes=".", argv=(b"x" * (1 << 21),)))
    assert verifier.admit(sign(ticket)) == ticket


@pytest.mark.parametrize("module", ["gproc.trust.ticket", "gproc.trust.identity", "gproc.trust.tls"])
def test_a_slave_does_not_import_what_only_making_certificates_needs(module: str) -> None:
    heavy = ("cryptography", "lief", "typer", "rich", "asyncssh", "dataclasses", "logging", "pathlib")
    program = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    assert answer.stdout == "[]\n"
