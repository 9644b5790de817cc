"""Which node gives which the runtime: with any faults every node gets it or hears why not; a link carries it seldom."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gproc.start.plan import Standing, planned
from gproc.start.supply import GUESTS, Giver, ParentFailed, Supply
from tests.patience import PATIENCE_S

FRONT_END = "front end"
DIGEST = "00"


class Run:
    """One start: nodes come in any order, transfers take their time, and some nodes are broken.

    sent: how often each node gave it.  at_once: how often at most a node gave it at the same time.  cut_off: nodes that
    reach no other node, and that no other reaches.  breaking: nodes that break off: a node that gets the runtime from
    one of them while it comes there gets only a part.
    """

    def __init__(
        self, standings: list[Standing], random: Random, *, warm: set[str], cut_off: set[str],
        breaking: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.supply = Supply(standings)
        self.standings = standings
        self.random = random
        self.warm = warm
        self.cut_off = cut_off
        self.breaking = breaking
        self.whole = {standing.name: asyncio.Event() for standing in standings}
        self.sent: Counter[str] = Counter()
        self.now: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self.racks: Counter[str] = Counter()

    async def all(self) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for standing in self.standings:
                group.create_task(self.one(standing))
        await self.supply.close()
        assert not any(self.now.values())

    async def pass_on(self) -> None:
        for _ in range(self.random.randrange(20)):
            await asyncio.sleep(0)

    async def one(self, standing: Standing) -> None:
        await self.pass_on()
        if standing.name in self.warm:
            self.supply.settled(standing.name)
            return
        await self.supply.parent_settled(standing.name)
        giver = Giver(standing.name, "10.0.0.1", 7, b"", DIGEST)
        for count in range(3):
            if count == 2:
                turn = self.supply.own_turn(standing.name)
            else:
                turn = await self.supply.turn(standing.name, DIGEST, whole=count > 0)
            self.supply.offer(giver, turn)
            came = await self.transfer(standing, turn.source)
            broke = turn.source is not None and turn.source.name in self.breaking
            self.supply.ended(turn, came=came, some=broke)
            if came:
                break
        self.whole[standing.name].set()
        self.supply.has_it(standing.name, giver)

    async def transfer(self, standing: Standing, source: Giver | None) -> bool:
        if source is not None and {standing.name, source.name} & self.cut_off:
            return False
        if source is not None and not self.whole[source.name].is_set():
            if source.name in self.breaking:
                return False
            await self.whole[source.name].wait()
        giver = FRONT_END if source is None else source.name
        self.sent[giver] += 1
        self.racks[standing.parent] += source is None
        self.now[giver] += 1
        self.at_once[giver] = max(self.at_once[giver], self.now[giver])
        await self.pass_on()
        self.now[giver] -= 1
        return True


def run(count: int, fanout: int, seed: int, *, warm: int = 0, cut_off: int = 0, breaking: int = 0) -> Run:
    standings = planned([f"h{number}" for number in range(count)], fanout)
    names = [standing.name for standing in standings]
    random = Random(seed)
    one = Run(
        standings, random, warm=set(random.sample(names, min(warm, count))),
        cut_off=set(random.sample(names, min(cut_off, count))),
        breaking=frozenset(random.sample(names, min(breaking, count))),
    )  # fmt: skip
    asyncio.run(one.all())
    return one


SIZES = st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1 << 30))


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_every_node_gets_the_runtime_whoever_has_it_and_whoever_is_cut_off(
    sizes: tuple[int, int, int], warm: int, cut_off: int, breaking: int
) -> None:
    run(*sizes, warm=warm, cut_off=cut_off, breaking=breaking)


@settings(deadline=None, max_examples=60)
@given(SIZES)
def test_the_front_end_sends_to_its_own_children_alone_and_nobody_gives_more_than_two_at_a_time(
    sizes: tuple[int, int, int],
) -> None:
    found = run(*sizes)
    assert set(found.racks) <= {""} | {parent for parent in found.racks if not found.racks[parent]}
    assert max(found.at_once.values()) <= GUESTS
    assert sum(found.sent.values()) == sizes[0]


def test_the_front_end_sends_one_copy_to_many_nodes() -> None:
    assert run(1000, 32, 5).sent[FRONT_END] == 1


def test_a_node_that_breaks_off_costs_its_guests_and_nobody_else() -> None:
    """A node that has all of it sends the rest to one that got a part: the front end does not send to all at once."""
    standings = planned([f"h{number}" for number in range(60)], 60)
    broken = frozenset(standing.name for standing in standings[::2])
    one = Run(standings, Random(3), warm=set(), cut_off=set(), breaking=broken)
    asyncio.run(one.all())
    assert one.at_once[FRONT_END] <= GUESTS


def test_a_rack_whose_master_has_no_archive_gets_one_copy_from_the_front_end() -> None:
    standings = planned([f"h{number}" for number in range(20)], 2)
    one = Run(standings, Random(1), warm={"h0", "h1"}, cut_off=set())
    asyncio.run(one.all())
    assert one.racks["h0"] == one.racks["h1"] == 1
    assert one.sent[FRONT_END] == 2


def test_nodes_that_do_not_reach_each_other_are_asked_no_more() -> None:
    standings = planned([f"h{number}" for number in range(60)], 60)
    one = Run(standings, Random(1), warm=set(), cut_off={standing.name for standing in standings})
    asyncio.run(one.all())
    assert sum(one.sent.values()) - one.sent[FRONT_END] <= 12
    assert one.sent[FRONT_END] == 60


def test_a_node_whose_parent_failed_is_sent_nothing() -> None:
    async def one() -> None:
        supply = Supply(planned(["h1", "h2"], 1))
        waiting = asyncio.ensure_future(supply.parent_settled("h2"))
        await asyncio.sleep(0)
        supply.settled("h1", failed=True)
        try:
            await waiting
        except ParentFailed:
            return
        raise AssertionError("it is let on")

    asyncio.run(one())
