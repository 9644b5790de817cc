"""Faults by the dozen, drawn from a seed, on machines with networks of their own, while jobs and transfers run.

Nodes are killed, ended, stopped, rebooted and frozen, cut off one way or both, slowed, and their disks are filled:
several at a time.  Meanwhile jobs write and read megabytes, files go to the nodes and come from them.  `works` says
what must hold of each of these; at the end nothing may be left on any machine.

    GPROC_FAULTS=5000 GPROC_SEED=7 .venv/bin/python -m pytest -n 0 -s tests/chaos
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults import Fault, draw
from tests.chaos.machines import machines_or_skip
from tests.chaos.repairs import Repairs
from tests.chaos.works import KINDS_OF_WORK, Broken, Work, prepare

FAULTS: Final = int(os.environ.get("GPROC_FAULTS", "30"))
SEED: Final = int(os.environ.get("GPROC_SEED", "1"))

PATHS: Final = ("1", "2", "1/1", "1/2", "2/1", "2/2", "1/1/1", "1/1/2")
KEPT: Final = (3,)
"""Seeds that have found a fault of gproc.  What a seed draws is another campaign if `faults.draw` changes."""

AT_ONCE: Final = 6
"""The most faults of a blow."""
WAITING: Final = 12
"""Works that wait for the end of a lease go on during the next blows; no more than these."""


class Campaign:
    """Blow after blow on one cluster.  Says what it does, so that a failure can be understood."""

    def __init__(self, cluster: ChaosCluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.works: list[Work] = []
        self.repairs = Repairs()
        self.broken: list[str] = []
        self.begun = 0
        self.faults = 0
        prepare(cluster)

    def blow(self, most: int) -> None:
        """Start works, strike, undo, and wait until all nodes are back."""
        for kind in KINDS_OF_WORK:
            self.begun += 1
            nodes = self.random.sample(PATHS, self.random.randint(3, len(PATHS)))
            self.works.append(kind(self.cluster, self.begun, sorted(nodes), random.Random(self.random.random())))
        time.sleep(self.random.uniform(0.3, 2.5))
        faults = draw(self.random, PATHS, min(most, self.random.randint(3, AT_ONCE)))
        for fault in faults:
            self.faults += 1
            sys.stdout.write(f"{self.faults}: {fault}\n")
        times_s = self._strike(faults)
        self.cluster.await_all()
        self.repairs.note(self.cluster, times_s)
        self.settle(WAITING)

    def _strike(self, faults: Sequence[Fault]) -> dict[Fault, tuple[float, float]]:
        """Strike and undo at their times.  Returns those."""
        begin_s = time.monotonic()
        acts = [(fault.begins_s, number, fault, fault.strike) for number, fault in enumerate(faults)]
        acts += [(fault.begins_s + fault.lasts_s, number, fault, fault.undo) for number, fault in enumerate(faults)]
        times_s: dict[Fault, tuple[float, float]] = {}
        for at_s, _, fault, act in sorted(acts, key=lambda act: act[:2]):
            time.sleep(max(0.0, begin_s + at_s - time.monotonic()))
            now_s = time.monotonic()
            if fault in times_s:
                times_s[fault] = (times_s[fault][0], now_s)
            else:
                times_s[fault] = (now_s, now_s)
                for work in self.works:
                    work.faults.append(fault)
            act(self.cluster)
        return times_s

    def settle(self, most: int) -> None:
        """Judge works that have ended, and wait until at most so many run."""
        while any(work.is_over for work in self.works) or len(self.works) > most:
            work = next((work for work in self.works if work.is_over), self.works[0])
            self.works.remove(work)
            try:
                work.end()
            except Broken as error:
                self.broken.append(str(error))
                sys.stdout.write(f"BROKEN: {error}\n")

    def rest(self) -> None:
        """After the last blow: wait for all works, and look for what is left."""
        self.settle(0)
        assert not self.broken, self.broken
        self.cluster.sweep_again()
        for path in PATHS:
            machine, slave = self.cluster.machines[path], self.cluster.slaves[path]
            assert machine.left_mounts() == [], path
            assert set(os.listdir(machine.disk)) <= {"tmp", "store", "root"}, path
            assert os.listdir(machine.disk / "tmp") == [], path
            assert os.listdir(machine.disk / "root") == [], path
            size = slave.resident_bytes() >> 20
            sys.stdout.write(f"{path}: {slave.descriptors()} descriptors, {size} MiB\n")
        master = self.cluster.master
        sys.stdout.write(f"master: {master.descriptors()} descriptors, {master.resident_bytes() >> 20} MiB\n")


def run(place: Path, seed: int, faults: int) -> None:
    with machines_or_skip(PATHS) as machines:
        cluster = ChaosCluster(place, machines, PATHS)
        groups = control_groups()
        campaign = Campaign(cluster, seed)
        try:
            while campaign.faults < faults:
                campaign.blow(faults - campaign.faults)
            campaign.rest()
            cluster.stop()
        except BaseException:
            logs = place.with_name(f"{place.name}-logs")
            logs.mkdir()
            for name, daemon in (("master", cluster.master), *cluster.slaves.items()):
                (logs / name.replace("/", ".")).write_text(daemon.log)
            sys.stdout.write(f"seed {seed}; logs: {logs}\n")
            raise
        finally:
            sys.stdout.write(f"{campaign.faults} faults of seed {seed}, {campaign.begun} works\n{campaign.repairs}\n")
        for path in PATHS:
            assert machines[path].processes() == [], path
            assert machines[path].left_mounts() == [], path
        assert control_groups() <= groups


def control_groups() -> set[str]:
    return {directory for directory, _, _ in os.walk("/sys/fs/cgroup") if "gproc" in directory}


@pytest.mark.slow
def test_whatever_fails_every_node_ends_once_and_all_that_was_said_and_sent_is_whole(tmp_path: Path) -> None:
    run(tmp_path / "c", SEED, FAULTS)


@pytest.mark.stress
@pytest.mark.parametrize("seed", KEPT)
def test_what_a_seed_has_found_is_not_found_again(tmp_path: Path, seed: int) -> None:
    run(tmp_path / "c", seed, 30)
