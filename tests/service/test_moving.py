"""A job waits a moment for nodes that change their parents just then."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from gproc.nodespec import Place
from gproc.service import moving
from gproc.service.absences import Absences

HERE, ELSEWHERE = Place((1, 1)), Place((2, 1))


def request(nodes: str, exclude: str = "") -> Any:
    return SimpleNamespace(nodes=nodes, exclude=exclude)


def gone(*places: Place, at_s: float | None = None) -> Absences:
    absences = Absences()
    for place in places:
        node: Any = SimpleNamespace(place=place)
        absences.note(node, time.time() if at_s is None else at_s, "closed the connection")
    return absences


@pytest.mark.parametrize("nodes", ["./.", "=1/1", "1/."])
def test_a_job_waits_for_a_node_between_two_parents(nodes: str) -> None:
    """It was called not connected, because it went back to its own parent just then."""

    async def run() -> None:
        absences = gone(HERE)
        waiting = asyncio.create_task(moving.await_moving(absences, request(nodes)))
        await asyncio.sleep(0)
        assert not waiting.done()
        absences.end(HERE)
        await waiting

    asyncio.run(run())


@pytest.mark.parametrize("asked", [request("=2/1"), request("./.", "1/1"), request("2")])
def test_it_does_not_wait_for_nodes_that_it_does_not_mean(asked: Any) -> None:
    asyncio.run(asyncio.wait_for(moving.await_moving(gone(HERE), asked), 1.0))


def test_it_does_not_wait_for_nodes_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(asyncio.wait_for(moving.await_moving(gone(HERE, at_s=time.time() - 60), request("./.")), 1.0))
    monkeypatch.setattr(moving, "RETURN_S", 0.1)
    asyncio.run(moving.await_moving(gone(HERE), request("./.")))
    asyncio.run(moving.await_moving(gone(HERE, at_s=time.time() + 3600), request("./.")))  # the clock was set back


def test_those_that_went_last_are_told_first_and_a_node_that_went_again_is_one_of_them() -> None:
    absences = gone(HERE, ELSEWHERE, at_s=100.0)
    node: Any = SimpleNamespace(place=HERE)
    absences.note(node, 200.0, "closed the connection")
    assert absences.since(150.0) == [HERE]
    assert absences.since(0.0) == [HERE, ELSEWHERE]


def test_a_hundred_jobs_do_not_hold_up_the_master_if_half_the_tree_goes() -> None:
    """Each asked again and again which of 5,000 nodes it waits for."""
    places = [Place((rack, number)) for rack in range(1, 17) for number in range(1, 301)]

    async def run() -> None:
        absences = gone(*places)
        waiting = [asyncio.create_task(moving.await_moving(absences, request("./."))) for _ in range(100)]
        await asyncio.gather(*waiting)
        few = gone(*places[: moving.MOVING_MAX // 2])
        waiting = [asyncio.create_task(moving.await_moving(few, request("=1/."))) for _ in range(100)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        for place in places:
            few.end(place)
        await asyncio.gather(*waiting)

    asyncio.run(run())
