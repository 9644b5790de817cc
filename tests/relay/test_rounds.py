"""The work of several users in turn: no user waits for all the work of another."""

from __future__ import annotations

import asyncio
import time

from gproc.relay.rounds import Rounds
from tests.loop import run

WORK_S = 0.02


def work(seconds: float = WORK_S) -> None:
    """Keeps the event loop busy."""
    time.sleep(seconds)


def done_in_order(*asked: int) -> list[int]:
    """Users in the order in which their work was done; each asked for a turn in this order, all at once."""
    done: list[int] = []

    async def one(rounds: Rounds, uid: int) -> None:
        await rounds.turn(uid, heavy=True)
        done.append(uid)

    async def all_of_them() -> None:
        rounds = Rounds()
        await asyncio.gather(*(one(rounds, uid) for uid in asked))

    run(all_of_them())
    return done


def test_users_take_turns_however_much_one_of_them_asks_for() -> None:
    assert done_in_order(1, 1, 1, 1, 2, 3, 2) == [1, 2, 3, 1, 2, 1, 1]


def test_a_user_who_comes_while_another_pauses_need_not_wait_for_that() -> None:
    done: list[int] = []

    async def works(rounds: Rounds, uid: int, work_s: float) -> None:
        await rounds.turn(uid, heavy=True)
        work(work_s)
        done.append(uid)

    async def all_of_them() -> None:
        rounds = Rounds()
        first = [asyncio.create_task(works(rounds, 1, WORK_S)) for _ in range(3)]
        await first[0]
        await asyncio.sleep(0)
        await works(rounds, 2, 0.0)
        await asyncio.gather(*first)

    run(all_of_them())
    assert done == [1, 2, 1, 1]


def test_between_two_pieces_of_long_work_the_loop_reads_from_its_connections() -> None:
    """Else megabytes of one user that are on their way hold up what comes behind them."""
    happened: list[str] = []

    async def works(rounds: Rounds) -> None:
        await rounds.turn(1, heavy=True)
        work()
        happened.append("worked")

    async def reads() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            happened.append("read")

    async def all_of_them() -> None:
        rounds = Rounds()
        first = asyncio.create_task(works(rounds))
        second = asyncio.create_task(works(rounds))
        await first
        await reads()
        await second

    run(all_of_them())
    assert happened == ["worked", *["read"] * 20, "worked"]


def test_one_who_does_not_wait_any_more_holds_up_nobody() -> None:
    done: list[int] = []

    async def all_of_them() -> None:
        rounds = Rounds()
        gone = [asyncio.create_task(rounds.turn(1, heavy=True)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await rounds.turn(1, heavy=True)
        done.append(1)
        await rounds.turn(2, heavy=True)
        done.append(2)

    run(all_of_them())
    assert done == [1, 2]


def test_a_turn_is_there_at_once_if_nobody_has_one_or_waits_for_one() -> None:
    async def takes() -> list[bool]:
        rounds = Rounds()
        taken = [rounds.take(1, heavy=False), rounds.take(1, heavy=False)]
        waiting = asyncio.create_task(rounds.turn(2, heavy=False))
        await asyncio.sleep(0)
        taken.append(rounds.take(1, heavy=False))
        await waiting
        await asyncio.sleep(0)
        return [*taken, rounds.take(1, heavy=False)]

    assert run(takes()) == [True, False, False, True]
