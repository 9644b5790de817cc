"""A cluster whose clock, network and programs are simulated, and whose rules are the product's: docs/faults.md."""

from __future__ import annotations

from functools import partial

import pytest

from gproc.nodespec import Place
from gproc.relay.flow import Outlet
from gproc.wire.messages import Route
from tests.simulator.clock import replaced
from tests.simulator.facts import Violation
from tests.simulator.faults import CALM_PACES, PACES, simulate
from tests.simulator.nodes import LEASE_S, host_of
from tests.simulator.planted import CALM, LATE_SEEDS, PLANTED, SEEDS, planted, switches_of
from tests.simulator.programs import Saying
from tests.simulator.settling import settle
from tests.simulator.simulated import simulated
from tests.simulator.world import World

FAULTS = 20_000
"""Within so many each planted bug is found."""


@pytest.mark.slow
@pytest.mark.parametrize("small", [True, False])
def test_nothing_is_lost_doubled_or_left_over_whatever_fails(small: bool) -> None:
    simulate(1, 800 if small else 40, small=small)


@pytest.mark.parametrize("faults", [400, pytest.param(FAULTS, marks=pytest.mark.stress)])
def test_output_that_ranks_have_alike_is_not_lost_doubled_or_mixed_up_whatever_fails(faults: int) -> None:
    with replaced(Saying, "is_alike", True):
        simulate(3, faults, small=True)


@pytest.mark.parametrize(
    ("seed", "faults"),
    [(1, 800), *(pytest.param(*each, marks=pytest.mark.slow) for each in [(1, 4000), (10_000_031, 12_000)])],
)
def test_nothing_is_lost_doubled_or_left_over_whatever_fails_and_the_master_crashes(seed: int, faults: int) -> None:
    """With standard input, clients that die or leave, and the disk of the master.  Dense faults cost least.
    The second seed goes on where the first one ends.
    """
    simulate(seed, faults, small=True, keeps=True, paces=PACES[2:])


@pytest.mark.stress
@pytest.mark.parametrize("small", [True, False])
def test_nothing_is_lost_doubled_or_left_over_in_20_000_faults_and_crashes_of_the_master(small: bool) -> None:
    simulate(2, FAULTS if small else 1600, small=small, keeps=True)


@pytest.mark.stress
@pytest.mark.parametrize("small", [True, False])
def test_nothing_is_lost_doubled_or_left_over_in_20_000_faults(small: bool) -> None:
    simulate(2, FAULTS if small else 1600, small=small)


@pytest.mark.parametrize(
    ("seed", "is_alike"),
    [(4, False), (6, False), (19_000_045, False), (31_000_096, True), (120_001_060, False)],
)
def test_what_was_once_wrong_is_right(seed: int, is_alike: bool) -> None:
    """4: a relay kept a job for ever.  6: a lost rank began.  19,000,045: a rank began on another rank's node.
    31,000,096: what a node had said before it ended came to the client after its end.  120,001,060: a rack master that
    had just been started took in a child of its child by that one's number, and refused its own child that has this
    number for ever.
    """
    with replaced(Saying, "is_alike", is_alike):
        simulate(seed, 400, small=True)


@pytest.mark.parametrize("seed", [39, 3_000_030, 40_000_191, 55_000_268, 148_000_745, 185_000_626, 959_000_177])
def test_what_was_once_wrong_when_the_master_had_crashed_is_right(seed: int) -> None:
    """39: a relay was not told that a job was over which only the master before had sent it, and kept it for ever.
    3,000,030: a node that had refused a job gave no credit for its standard input, so that nobody got more.
    40,000,191: that a rank had ended was on the disk before its output was, and the next master asked nobody for that.
    55,000,268: a node let go of a job, as its lease ended, that it had just been sent, and one below kept it for ever.
    148,000,745: a rank was called lost, because its output had come after a gap once, while its program ran.
    185,000,626: a block of input was as large as a window of which a node had kept some back, and never came through.
    959,000,177: a program of a session that was over ran on in the next one, which had used fewer numbers.
    """
    simulate(seed, 400, small=True, keeps=True)


@pytest.mark.parametrize("seed", [17_000_062, 75_000_429, 76_000_429, 118_000_558, 186_000_960, 220_001_061])
def test_what_was_once_wrong_when_nodes_waited_for_their_turn_is_right(seed: int) -> None:
    """17,000,062: a node that was told as not started began.  75,000,429: a node began before it was on the disk that
    it had its turn.  76,000,429: a rank was called lost that ran on a slave that had been started again.
    118,000,558: a job whose last output was not on the disk yet was forgotten, and told as lost.
    186,000,960: a job was one that goes on before all that its nodes had let go of was on the disk.
    220,001,061: output of a lost rank that had come, and waited for its client, was dropped.
    """
    simulate(seed, 400, small=True, keeps=True, turns=True)


def test_a_job_of_which_too_many_nodes_had_failed_ends_once_when_its_master_has_crashed() -> None:
    simulate(57_000_178, 400, small=True, keeps=True, turns=True, fills=True, ends=True)


def test_a_job_goes_on_below_a_node_whose_lease_has_ended_and_which_has_another_parent_then() -> None:
    """That node began with a whole window for its child, and the child with what was left of the former one."""
    simulate(880_002_641, 400, small=True, keeps=True, turns=True, fills=True, ends=True)


def test_nothing_is_lost_doubled_or_left_over_if_jobs_run_on_a_few_nodes_at_a_time() -> None:
    simulate(1, 1600, small=True, keeps=True, turns=True, paces=PACES[2:])


def test_nothing_is_lost_doubled_or_left_over_if_the_disk_of_the_master_is_full_at_times() -> None:
    """Output is missing then, and nothing else is wrong."""
    simulate(1, 1600, small=True, keeps=True, turns=True, fills=True, paces=PACES[2:])


@pytest.mark.parametrize("faults", [200, pytest.param(FAULTS // 4, marks=pytest.mark.stress)])
def test_nothing_else_is_lost_if_a_full_disk_takes_no_records_input_and_lists_either(faults: int) -> None:
    simulate(5, faults, small=True, keeps=True, maps=True, fills=True, refuses=True, paces=CALM_PACES)


def test_a_tree_ends_with_its_master_and_whoever_is_cut_off_then_ends_later() -> None:
    simulate(1, 1600, small=True, keeps=True, ends=True, paces=PACES[2:])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.stress if number % 2 else pytest.mark.slow)
        for number, name in enumerate(name for name in PLANTED if name in SEEDS)
    ],
)
def test_a_planted_bug_is_found(name: str) -> None:
    look_for(name, SEEDS[name])


@pytest.mark.parametrize("keeps", [False, True])
def test_a_task_of_a_list_begins_once_at_most_and_has_an_end_whatever_fails(keeps: bool) -> None:
    simulate(1, 400, small=True, keeps=keeps, maps=True, paces=PACES[2:])


@pytest.mark.parametrize("faults", [200, pytest.param(FAULTS // 2, marks=pytest.mark.stress)])
def test_a_list_of_tasks_that_its_client_has_left_is_handed_out_once_whatever_fails(faults: int) -> None:
    simulate(2, faults, small=True, keeps=True, maps=True, paces=CALM_PACES)


def test_orders_of_tasks_that_waited_for_a_bundle_are_not_overtaken() -> None:
    """They were, if there were more of them than a window, and the node's part of the job failed."""
    simulate(4_000_023, 400, small=True, keeps=True, maps=True, paces=CALM_PACES)


@pytest.mark.parametrize("faults", [400, pytest.param(FAULTS, marks=pytest.mark.stress)])
def test_leases_do_not_overlap_if_each_machine_has_its_own_clock_and_dates_jump(faults: int) -> None:
    simulate(1, faults, small=True, keeps=True, clocks=True)


@pytest.mark.stress
@pytest.mark.parametrize("name", [name for name in PLANTED if name not in SEEDS])
def test_a_planted_bug_that_shows_seldom_is_found(name: str) -> None:
    look_for(name, LATE_SEEDS.get(name, 1))


def look_for(name: str, seed: int) -> None:
    paces = CALM_PACES if name in CALM else PACES
    with planted(name), pytest.raises(Violation, match=f"seed {seed}, fault"):
        simulate(seed, FAULTS, small=True, paces=paces, **switches_of(name)._asdict())


def test_a_seed_makes_the_same_run_again() -> None:
    found = set()
    for _ in range(2):
        with planted("a lease is judged too early"), pytest.raises(Violation) as error:
            simulate(20, FAULTS, small=True)
        found.add(str(error.value))
    assert len(found) == 1


@pytest.mark.parametrize("both_ways", [True, False])
def test_nodes_leave_a_rack_master_that_is_cut_off_from_the_master_alone(both_ways: bool) -> None:
    """They kept it, because it lived, until their leases ended; although they could reach the master themselves."""
    rack, master = Place((1,)), Place(())
    world = World(1, 2, 2, 3)
    with simulated(world):
        world.start_all()
        pair = host_of(rack), host_of(master)
        world.inside(None, world.network.cut, [pair, pair[::-1]] if both_ways else [pair], 5 * LEASE_S)
        below = [place for place in world.places if place[:1] == rack and place != rack]
        world.run_for(6.0)
        nodes = [world.master.registry.at(place) for place in below]
        assert all(node is not None and node.route is not None for node in nodes), nodes
        leases = [world.slaves[place]._verifier.lease.ends_s for place in below]
        world.run_for(4 * LEASE_S)
        assert all(world.slaves[place]._verifier.lease.ends_s > world.loop.now_s for place in below), leases
        assert world.slaves[rack]._verifier.lease.ends_s < world.loop.now_s
        settle(world)  # and all go home


def test_racks_stay_together_while_the_master_is_away() -> None:
    """Whether its machine answers or not: if not, it is back as suddenly."""
    world = World(1, 2, 2, 3, keeps=True)
    with simulated(world):
        world.start_all()
        for seconds, is_down in ((1.0, False), (8.0, False), (1.0, True), (8.0, True)):
            world.inside(None, world.crash)
            if is_down:
                world.inside(None, world.network.take_down, host_of(Place(())), seconds)
            world.run_for(seconds)
            world.inside(None, partial(world.bring_back, rebooted=False))
            world.run_for(4.0)
            nodes = [world.master.registry.at(place) for place in world.places]
            assert [node and node.route for node in nodes] == [Route(place) for place in world.places]


def test_a_source_that_sends_as_soon_as_it_is_granted_credit_is_paid_once() -> None:
    """A node's own program does: it had more credit than its window, the more the longer it wrote."""
    granted: list[int] = []

    def grant(source: str, size: int) -> None:
        granted.append(size)
        if len(granted) == 1:
            send(30)

    def send(size: int) -> None:
        outlet.accept(size, "program")
        outlet.push(0, b"x" * size, size, "program")

    outlet: Outlet[str] = Outlet(1000, 400, lambda frame: None, grant)
    send(90)
    send(90)
    assert granted == [180]
    send(80)
    assert granted == [180, 110]
