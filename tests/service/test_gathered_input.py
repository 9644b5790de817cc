"""What a client types, and the signals that it sends, go on in fewer and larger parts if there are many."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gproc.errors import PeerError
from gproc.request.acts import SendSignal, SetTerminalSize
from gproc.request.spec import TerminalSize
from gproc.service.gathered_input import WHOLE_BYTES, GatheredInput
from gproc.service.pacing import AT_ONCE, PacedAct, PacedOrders
from tests.loop import run


def test_small_pieces_go_as_one_and_the_end_behind_them() -> None:
    async def work() -> None:
        given: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        typed = GatheredInput(lambda job, data: given.put_nowait((job, data)), pytest.fail)
        for _ in range(1000):
            typed.add(1, b"x")
            typed.add(2, b"y")
        typed.add(1, b"")
        with pytest.raises(PeerError, match="after its end"):
            typed.add(1, b"z")
        assert [await given.get() for _ in range(3)] == [(1, b"x" * 1000), (1, b""), (2, b"y" * 1000)]
        typed.add(2, b"z" * WHOLE_BYTES)
        assert given.get_nowait() == (2, b"z" * WHOLE_BYTES)
        typed.add(2, b"last")
        typed.flush_all()
        assert given.get_nowait() == (2, b"last")
        assert given.empty()

    run(work())


def test_a_full_block_of_a_job_with_small_windows_does_not_wait() -> None:
    """Its client had no credit for more, so it got on by one window each 5 ms: 0.6 MB/s."""

    async def work() -> None:
        given: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        typed = GatheredInput(lambda job, data: given.put_nowait((job, data)), pytest.fail)
        typed.add(1, bytes(600), 1024)
        assert given.empty()
        typed.add(1, bytes(600), 1024)
        assert given.get_nowait() == (1, bytes(1200))

    run(work())


def test_too_much_input_is_a_fault_also_when_it_is_given_later() -> None:
    def refuse(job: int, data: bytes) -> None:
        raise PeerError("no credit")

    async def work() -> None:
        faults: asyncio.Queue[str] = asyncio.Queue()
        typed = GatheredInput(refuse, faults.put_nowait)
        typed.add(1, b"x")
        assert await faults.get() == "no credit"
        with pytest.raises(PeerError, match="no credit"):
            typed.add(2, bytes(WHOLE_BYTES))

    run(work())


def test_the_last_word_counts_if_a_job_is_stopped_and_goes_on_again_and_again() -> None:
    """A signal took the place of an equal one that waited: CONT, TSTP, CONT left the job stopped."""

    async def work() -> None:
        given: asyncio.Queue[PacedAct] = asyncio.Queue()
        now_s = 0.0
        paced = PacedOrders(given.put_nowait, lambda: now_s)
        for _ in range(AT_ONCE):
            paced.add(SendSignal(signal.SIGUSR1))
            given.get_nowait()
        for signum in (signal.SIGCONT, signal.SIGTSTP, signal.SIGINT, signal.SIGCONT):
            paced.add(SendSignal(signum))
        now_s = 10.0
        assert [await given.get() for _ in range(2)] == [SendSignal(signal.SIGINT), SendSignal(signal.SIGCONT)]
        paced.stop()
        assert given.empty()

    run(work())


def test_signals_beyond_what_nodes_are_told_at_once_wait_and_equal_ones_are_one() -> None:
    async def work() -> None:
        given: asyncio.Queue[PacedAct] = asyncio.Queue()
        now_s = 0.0
        paced = PacedOrders(given.put_nowait, lambda: now_s)
        for _ in range(10 * AT_ONCE):
            paced.add(SendSignal(10))
        assert [given.get_nowait() for _ in range(AT_ONCE)] == [SendSignal(10)] * AT_ONCE
        assert given.empty()
        paced.add(SendSignal(12))
        sizes = [SetTerminalSize(TerminalSize(rows, 80)) for rows in range(1, 100)]
        for size in sizes:
            paced.add(size)
        now_s = 10.0
        assert [await given.get() for _ in range(3)] == [SendSignal(10), SendSignal(12), sizes[-1]]
        for _ in range(2 * AT_ONCE):
            paced.add(SendSignal(10))
        paced.stop()

    run(work())
