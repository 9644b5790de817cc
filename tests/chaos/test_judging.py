"""How the works of a campaign read what commands say."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults import Fault
from tests.chaos.works import NOT_CONNECTED, Writing


def test_a_command_none_of_whose_nodes_was_connected_has_an_end_on_each() -> None:
    """Such a command has no summary, and "1 has no end" was said of it: seed 12."""
    work: Any = Writing.__new__(Writing)
    work.cluster = SimpleNamespace(paths=("1", "2", "1/1", "1/2"))
    assert work.endings("gproc: not connected: 1,=1/1-2\n") == dict.fromkeys(("1", "1/1", "1/2"), NOT_CONNECTED)


def test_a_node_that_goes_home_as_a_command_begins_may_be_not_connected() -> None:
    """The cut that had made it leave was of the blow before: seed 23."""
    said = "2026-11-28 22:27:11 lost the parent at 10.85.0.1:6666: going back to the parent of this place; the next one"
    cluster: Any = ChaosCluster.__new__(ChaosCluster)
    cluster.slaves = {"1": SimpleNamespace(log=""), "2/2": SimpleNamespace(log=said)}
    moved_s = time.mktime(time.strptime(said[:19], "%Y-%m-%d %H:%M:%S"))
    assert [cluster.going_home(moved_s + late_s) for late_s in (-20, -5, 1, 60)] == [set(), {"2/2"}, {"2/2"}, set()]


def test_what_runs_below_a_rack_master_that_is_cut_off_from_the_master_alone_may_be_lost_with_its_lease() -> None:
    """Seed 30.  If the rack master is cut off from its children too, they find another way."""
    work: Any = Writing.__new__(Writing)
    work.nodes = ("1", "1/1", "2")
    for ways, lost in (((("front", "1"),), {"1", "1/1"}), ((("front", "1"), ("1/1", "1")), {"1"})):
        work.faults = [Fault("cut one way", "1", 0.0, 20.0, ways)]
        assert work.doomed() == lost
