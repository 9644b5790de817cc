"""A user whose requests need much time gets a share of the event loop, and loses no request."""

from __future__ import annotations

import asyncio
import socket

from gproc.errors import PeerError
from gproc.link.connection import Link
from gproc.link.shift import SHIFT_S, Shift
from gproc.wire import frames, messages
from gproc.wire.messages import Ping, SignalJob
from tests.link.test_connection import Recorder
from tests.loop import run

MANY = 2000


class Working(Recorder):
    """Each message takes some time of this clock."""

    def __init__(self, took_s: float = 0.0) -> None:
        super().__init__()
        self.now_s = 0.0
        self.took_s = took_s
        self.turns: list[int] = []
        self._this_turn = 0

    def on_message(self, link: Link, message: messages.Message) -> None:
        if not self._this_turn:
            asyncio.get_running_loop().call_soon(self._count)
        self._this_turn += 1
        self.now_s += self.took_s
        if isinstance(message, SignalJob) and message.job == MANY:
            raise PeerError("enough")
        super().on_message(link, message)

    def _count(self) -> None:
        self.turns.append(self._this_turn)
        self._this_turn = 0


async def sent_to(receiver: Working, data: bytes, shift: Shift | None) -> socket.socket:
    return (await sent_to_receiver(receiver, data, shift))[1]


async def sent_to_receiver(receiver: Recorder, data: bytes, shift: Shift | None) -> tuple[Link, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    link = Link(None, receiver, shift=shift)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: link, theirs)
    await asyncio.get_running_loop().sock_sendall(ours, frames.preface(frames.CHANNEL_CLIENT) + data)
    return link, ours


def test_what_does_not_fit_into_a_shift_comes_in_order_in_later_turns() -> None:
    async def work() -> None:
        receiver = Working(SHIFT_S / 4)
        signals = [SignalJob(number, 15) for number in range(MANY)]
        data = b"".join(map(messages.frame, signals))
        with await sent_to(receiver, data, Shift(lambda: receiver.now_s)):
            await receiver.until_received(MANY)
            assert receiver.received == signals
            assert max(receiver.turns) <= 8  # of two turns, if the second began before they were counted
        await receiver.until_lost()

    run(work())


def test_all_connections_of_a_user_have_one_shift() -> None:
    async def work() -> None:
        receiver = Working(SHIFT_S / 4)
        shift = Shift(lambda: receiver.now_s)
        data = messages.frame(Ping()) * 100
        ours = [await sent_to(receiver, data, shift) for _ in range(20)]
        await receiver.until_received(20 * 100)
        assert max(receiver.turns) <= 8
        for each in ours:
            each.close()

    run(work())


def test_one_request_of_each_of_many_connections_is_not_one_turn() -> None:
    """It was one turn: a hundred connections, each with one request of 2 ms, kept all other users out for 0.2 s."""

    async def work() -> None:
        receiver = Working(SHIFT_S / 2)
        shift = Shift(lambda: receiver.now_s)
        ours = [await sent_to(receiver, messages.frame(Ping()), shift) for _ in range(50)]
        await receiver.until_received(50)
        assert max(receiver.turns) <= 4
        for each in ours:
            each.close()

    run(work())


def test_what_was_done_long_ago_is_not_of_this_turn() -> None:
    async def work() -> None:
        now_s = 0.0
        shift = Shift(lambda: now_s)
        for _ in range(10):
            began_s, now_s = now_s, now_s + SHIFT_S * 0.4
            assert not shift.is_over(began_s)
            shift.spend(began_s)
            await asyncio.sleep(0)

    run(work())


class Broken(Working):
    def on_message(self, link: Link, message: messages.Message) -> None:
        super().on_message(link, message)
        if len(self.received) == 3:
            raise ZeroDivisionError


def test_a_fault_of_ours_in_a_later_turn_ends_the_connection_and_the_others_go_on() -> None:
    """It stayed open, its client waited for ever, and so did the user's other connections."""

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        receiver, other = Broken(SHIFT_S), Working()
        shift = Shift(lambda: receiver.now_s)
        with (
            await sent_to(receiver, messages.frame(Ping()) * 10, shift),
            await sent_to(other, messages.frame(Ping()) * 10, shift),
        ):
            await receiver.until_lost()
            await other.until_received(10)

    run(work())


def test_a_fault_in_a_later_turn_ends_the_connection_as_in_the_first() -> None:
    async def work() -> None:
        receiver = Working(SHIFT_S)
        data = b"".join(messages.frame(SignalJob(number, 15)) for number in (1, 2, 3, MANY, 5))
        with await sent_to(receiver, data, Shift(lambda: receiver.now_s)):
            await receiver.until_lost()
        assert receiver.lost == ["enough"]
        assert len(receiver.received) == 3

    run(work())
