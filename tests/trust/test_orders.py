"""Orders for a running job, and its standard input: the master alone gives them, and a relay cannot shuffle them."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gproc.request.acts import Act, SendSignal, SetTerminalSize
from gproc.request.spec import TerminalSize
from gproc.trust.orders import ForAnotherJob, JobInput, JobOrders, JobSigner, Order, StaleOrder
from gproc.trust.signing import Context, Forged, Signer, TicketRefused, Unreadable
from gproc.wire.endings import Release
from gproc.wire.frames import STDERR, STDOUT, InputBlock
from gproc.wire.messages import Signed

MASTER = Signer(bytes(range(32)))
STRANGER = Signer(bytes(32))
SESSION = b"s" * 16
NONCE = b"n" * 16
TERM = SendSignal(signal.SIGTERM)


def both(job: int = 7, session: bytes = SESSION, signer: Signer = MASTER) -> tuple[JobSigner, JobOrders, JobInput]:
    key = MASTER.public_key
    return JobSigner(signer, session, job), JobOrders(key, SESSION, 7, NONCE), JobInput(key, SESSION, 7)


@pytest.mark.parametrize("act", [TERM, SetTerminalSize(TerminalSize(24, 80))], ids=repr)
def test_an_order_of_the_master_is_obeyed_once(act: Act) -> None:
    master, orders, _ = both()
    signed = master.order(act)
    assert orders.open(signed) == act
    with pytest.raises(StaleOrder):
        orders.open(signed)


def test_an_order_that_was_held_back_while_a_later_one_came_is_refused() -> None:
    master, orders, _ = both()
    first, second = master.order(TERM), master.order(SendSignal(signal.SIGKILL))
    orders.open(second)
    with pytest.raises(StaleOrder):
        orders.open(first)


@pytest.mark.parametrize(("job", "session"), [(8, SESSION), (7, b"t" * 16)])
def test_an_order_for_another_job_is_refused(job: int, session: bytes) -> None:
    master, orders, _ = both(job, session)
    with pytest.raises(ForAnotherJob):
        orders.open(master.order(TERM))


def test_a_relay_cannot_give_orders() -> None:
    stranger, orders, _ = both(signer=STRANGER)
    with pytest.raises(Forged):
        orders.open(stranger.order(TERM))


@pytest.mark.parametrize("signum", [0, 11, 65])
def test_a_signal_that_no_job_may_be_sent_is_refused_even_when_signed(signum: int) -> None:
    _, orders, _ = both()
    act = SendSignal(signal.SIGTERM)
    payload = MASTER.sign(Context.ORDER, Order(SESSION, 7, 1, act)).payload.replace(
        b"\x92\x01\x0f", bytes((146, 1, signum))
    )
    with pytest.raises(Unreadable):
        orders.open(Signed(payload, MASTER.sign_bytes(Context.ORDER, payload)))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10))
def test_input_arrives_as_it_was_sent(sent: list[bytes]) -> None:
    master, _, theirs = both()
    assert [theirs.open(master.block(data)) for data in [*sent, b""]] == [*sent, b""]


@given(st.lists(st.binary(min_size=1, max_size=5), min_size=2, max_size=6), st.data())
def test_no_input_that_a_relay_drops_repeats_shuffles_or_changes_reaches_a_program(
    sent: list[bytes], data: st.DataObject
) -> None:
    master, _, theirs = both()
    blocks = [master.block(piece) for piece in [*sent, b""]]
    at = data.draw(st.integers(0, len(blocks) - 2))
    for block in blocks[:at]:
        theirs.open(block)
    genuine = blocks[at]
    for block in [*blocks[at + 1 :], *blocks[:at]]:
        assert theirs.open(block) is None
    wrong = [
        *(block._replace(offset=genuine.offset) for block in [*blocks[at + 1 :], *blocks[:at]]),
        InputBlock(genuine.offset, genuine.signature, genuine.data + b"!"),
        InputBlock(genuine.offset, genuine.signature, genuine.data[:-1]),
        InputBlock(genuine.offset, genuine.signature, b""),
        InputBlock(genuine.offset, bytes(64), genuine.data),
        InputBlock(genuine.offset, b"short", genuine.data),
    ]
    for block in wrong:
        with pytest.raises(TicketRefused):
            theirs.open(block)
    assert theirs.open(genuine) == genuine.data


def test_input_of_another_job_is_forged() -> None:
    master, _, theirs = both(job=8)
    with pytest.raises(Forged):
        theirs.open(master.block(b"rm -rf ~\n"))


def test_what_deletes_data_is_believed_of_the_master_alone_and_of_this_node_and_job() -> None:
    master, orders, _ = both()
    taken, over = master.acknowledgement(3, NONCE, STDOUT, 65536), master.release()
    orders.check_taken(taken)
    orders.check_release(over)
    stranger, other, earlier = both(signer=STRANGER)[0], both(8)[0], both(session=b"t" * 16)[0]
    for forged in (
        replace(taken, bytes=65537), replace(taken, stream=STDERR), replace(taken, signature=b""),
        stranger.acknowledgement(3, NONCE, STDOUT, 65536), master.acknowledgement(3, b"m" * 16, STDOUT, 65536),
        other.acknowledgement(3, NONCE, STDOUT, 65536), earlier.acknowledgement(3, NONCE, STDOUT, 65536),
    ):  # fmt: skip
        with pytest.raises(Forged):
            orders.check_taken(forged)
    for word in (Release(7), stranger.release(), other.release(), earlier.release()):
        with pytest.raises(Forged):
            orders.check_release(word)
