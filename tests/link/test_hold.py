"""A connection that is held for a short time is not read, does not count as silent, and loses nothing."""

from __future__ import annotations

import asyncio
import time

from gproc.link.connection import Link
from gproc.link.shift import Shift
from gproc.wire import frames, messages
from gproc.wire.messages import SignalJob
from tests.link.test_connection import Recorder
from tests.link.test_shift import sent_to_receiver
from tests.loop import run


class Holding(Recorder):
    """Holds its connection after each message, until it was asked so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks
        self.looked = 0
        self._another: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def until_looked(self) -> None:
        """Until it has been asked again, twice: before the second time, the connection has noted the first."""
        for _ in range(2):
            self._another = asyncio.get_running_loop().create_future()
            await self._another

    def on_message(self, link: Link, message: messages.Message) -> None:
        self.looked = 0
        link.hold(self._may_go_on)
        super().on_message(link, message)

    def _may_go_on(self) -> bool:
        self.looked += 1
        if not self._another.done():
            self._another.set_result(None)
        return self.looked >= self._looks


SIGNALS = [SignalJob(number, 15) for number in range(5)]
DATA = b"".join(map(messages.frame, SIGNALS))


def test_what_comes_while_it_is_held_comes_in_order_later() -> None:
    async def work() -> None:
        receiver = Holding(looks=3)
        _, ours = await sent_to_receiver(receiver, DATA, Shift())
        with ours:
            await receiver.until_received(len(SIGNALS))
            await asyncio.get_running_loop().sock_sendall(ours, DATA)
            await receiver.until_received(2 * len(SIGNALS))
        assert receiver.received == SIGNALS * 2
        await receiver.until_lost()

    run(work())


def test_a_connection_that_is_held_is_not_silent() -> None:
    """Its neighbour would take it for a frozen one: it says more than is read."""

    async def work() -> None:
        receiver = Holding(looks=1_000_000)
        link, ours = await sent_to_receiver(receiver, DATA, Shift())
        with ours:
            await receiver.until_received(1)
            before_s = time.monotonic()
            await receiver.until_looked()
            assert link.heard_s >= before_s
            assert receiver.received == SIGNALS[:1]

    run(work())


def test_a_connection_that_is_held_can_be_ended() -> None:
    async def work() -> None:
        receiver = Holding(looks=1_000_000)
        link, ours = await sent_to_receiver(receiver, DATA, Shift())
        with ours:
            await receiver.until_received(1)
            link.abort("enough")
            await receiver.until_lost()
        assert receiver.lost == ["enough"]
        assert receiver.received == SIGNALS[:1]

    run(work())


def test_a_connection_that_is_held_and_has_nothing_to_say_is_read_again_at_once() -> None:
    async def work() -> None:
        receiver = Holding(looks=1)
        link, ours = await sent_to_receiver(receiver, b"", Shift())
        with ours:
            for signal in SIGNALS:
                await asyncio.get_running_loop().sock_sendall(ours, messages.frame(signal))
                await receiver.until_received(1 + SIGNALS.index(signal))
            assert link.channel == frames.CHANNEL_CLIENT

    run(work())
