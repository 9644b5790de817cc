"""Which faults happen when: all from one seed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Final

from gproc.nodespec import Place
from gproc.service.live import LiveJob
from tests.simulator.facts import Switches, Violation
from tests.simulator.nodes import SimSlave, host_of
from tests.simulator.settling import settle
from tests.simulator.simulated import simulated
from tests.simulator.world import World

EPISODE: Final = 400
"""Faults until everything must be in order again."""

PACES: Final = (4.0, 8.0, 16.0, 32.0)
"""Faults a second, on average; each episode has one of these rates.  At the last one faults come all the time."""

CALM_PACES: Final = (1.0, 4.0)
"""At these rates some jobs end before the next fault."""

JOBS: Final = 2
"""How many jobs run at a time."""


class Faults:
    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.kinds: tuple[tuple[Callable[[], None], int], ...] = (
            (self._stall, 34),
            (self._reset, 30),
            (self._cut, 14),
            (self._isolate, 4),
            (self._freeze, 6),
            (self._kill, 8),
            (self._stop, 3),
            (self._lose_machine, 1),
        )
        if world.disk is not None:
            self.kinds += (
                (self._crash, 4), (self._isolate_master, 2), (self._freeze_master, 2), (self._lose_client, 4),
                (self._leave, 4), (self._kill_job, 1),
            )  # fmt: skip
        if world.switches.turns:
            self.kinds += ((self._signal_job, 6),)
        if world.switches.maps and world.disk is not None:
            self.kinds += ((self._drain, 4),)
        if world.switches.fills:
            self.kinds += ((self._fill_disk, 4),)
        if world.switches.clocks:
            self.kinds += ((self._set_date, 8),)
        if world.switches.ends:
            self.kinds += ((self._end_master, 6),)

    def one(self) -> None:
        kinds, weights = zip(*self.kinds, strict=True)
        self.random.choices(kinds, weights)[0]()
        self.world.faults += 1

    def _seconds(self) -> float:
        """Most faults are over before a lease ends, and some are not."""
        short, middling, long = ((0.05, 1.5), (0.5, 4.0), (2.0, 20.0))
        uniform = self.random.uniform
        return self.random.choice((uniform(*short), uniform(*middling), uniform(*long)))

    def _someone(self) -> SimSlave:
        return self.random.choice(self.world.living() or list(self.world.slaves.values()))

    def _links(self) -> list[object]:
        return list(self.world.network.links)

    def _stall(self) -> None:
        """A connection is slow for a while."""
        if links := list(self.world.network.links):
            way = self.random.choice(links).out
            way.stalled_until_s = self.world.loop.now_s + self.random.uniform(0.01, 1.5)

    def _reset(self) -> None:
        """A connection ends, with what is on it."""
        if links := list(self.world.network.links):
            link = self.random.choice(links)
            link.process.context.run(link.abort, "connection reset by peer")

    def _cut(self) -> None:
        """Nothing gets through between two nodes: one way or both."""
        place = self.random.choice(self.world.places)
        here, there = host_of(place), host_of(Place(place[:-1]))
        pairs = self.random.choice(([(here, there)], [(there, here)], [(here, there), (there, here)]))
        self.world.network.cut(pairs, self._seconds())

    def _isolate(self) -> None:
        """A machine is off the network for a while."""
        self.world.network.take_down(host_of(self.random.choice(self.world.places)), self._seconds())

    def _freeze(self) -> None:
        self.world.network.freeze(self._someone().process, self._seconds())

    def _kill(self) -> None:
        """kill -9, and another start later."""
        slave = self._someone()
        self.world.network.kill(slave.process)
        self._restart_later(slave)

    def _lose_machine(self) -> None:
        """No power: no peer hears that its connections have ended."""
        slave = self._someone()
        seconds = self._seconds()
        self.world.network.take_down(slave.process.host, seconds)
        self.world.network.kill(slave.process)
        self.world.clocks.start(slave.process.host)
        self._restart_later(slave, seconds)

    def _set_date(self) -> None:
        """An administrator sets the date of a machine, often of the front end."""
        master = self.world.master.process.host
        self.world.clocks.set_date(self.random.choice((master, self._someone().process.host)))

    def _stop(self) -> None:
        """A clean end."""
        slave = self._someone()
        slave.process.context.run(slave.end)
        self._restart_later(slave, 2.0)

    # At the front end

    def _crash(self) -> None:
        """The master is killed.  It comes back soon, or when all leases have ended; seldom after its machine."""
        if not self.world.has_master:
            return
        self.world.crash()
        rebooted = self.random.random() < 0.1
        uniform = self.random.uniform
        seconds = self.random.choice((uniform(0.01, 1.0), uniform(0.1, 9.0), uniform(0.1, 9.0), uniform(9.0, 40.0)))
        self.world.network.schedule(seconds, lambda: self.world.bring_back(rebooted=rebooted))

    def _end_master(self) -> None:
        """A clean end: the tree ends.  Another master and its nodes are started later."""
        if not self.world.has_master:
            return
        network, seconds = self.world.network, self.random.uniform(0.01, 5.0)

        def begin_again() -> None:
            self.world.bring_back(rebooted=False)
            self.world.start_what_has_ended()

        self.world.end_cleanly(lambda: network.schedule(seconds, begin_again))

    def _isolate_master(self) -> None:
        self.world.network.take_down(self.world.master.process.host, self._seconds())

    def _freeze_master(self) -> None:
        if self.world.has_master:
            self.world.network.freeze(self.world.master.process, self._seconds())

    def _fill_disk(self) -> None:
        """Often the master crashes just then, and the next one lacks what nodes do not have any more."""
        seconds = self._seconds()
        self.world.fill_disk(seconds)
        if self.random.random() < 0.5:
            self.world.network.schedule(self.random.uniform(0.0, seconds), self._crash)

    def _some_job(self) -> LiveJob | None:
        running = self.world.master.jobs.running() if self.world.has_master else []
        return self.random.choice(running) if running else None

    def _lose_client(self) -> None:
        if (live := self._some_job()) is not None:
            self.world.inside(self.world.master.process, self.world.master.jobs.lose_client, live)

    def _leave(self) -> None:
        """A client wants to leave its job."""
        if (live := self._some_job()) is not None:
            self.world.inside(self.world.master.process, self.world.master.jobs.let_client_leave, live)

    def _kill_job(self) -> None:
        """gproc kill."""
        if (live := self._some_job()) is not None:
            self.world.inside(self.world.master.process, live.signal, signal.SIGKILL)

    def _signal_job(self) -> None:
        """gproc kill -s USR1, of all nodes of a job or of some."""
        if (live := self._some_job()) is None:
            return
        self.world.jobs[live.job.number].signals += 1
        ranks = range(len(live.job.places))
        some = sorted(self.random.sample(ranks, self.random.randint(1, len(ranks))))
        if self.random.random() < 0.5:
            self.world.inside(self.world.master.process, live.signal, signal.SIGUSR1)
        else:
            self.world.inside(self.world.master.process, live.signal_nodes, signal.SIGUSR1, some)

    def _drain(self) -> None:
        if self.world.has_master:
            self.world.drain()

    def _restart_later(self, slave: SimSlave, least_s: float = 0.1) -> None:
        seconds = least_s + self._seconds()

        def restart() -> None:
            if self.world.slaves[slave.home] is not slave:
                return
            if not slave.process.dead:  # a frozen one cannot end by itself
                self.world.network.kill(slave.process)
            self.world.start(slave.home)

        self.world.loop.call_later(seconds, restart, context=self.world.network.context)


def simulate(
    seed: int, faults: int, *, tell: Callable[[World], None] = lambda _: None, small: bool = False,
    paces: Sequence[float] = PACES, **switches: bool,
) -> int:  # fmt: skip
    """Simulate at least this many faults.  Returns how many there were.

    small: 16 nodes.  paces: faults a second, one of these in each episode.  switches: those of `Switches` that are on.

    Raises: Violation, which names the seed and the fault.
    """
    words = " --small" * small + Switches(**switches).words
    done, run, returned = 0, 0, 0
    while done < faults:
        world_seed = seed + run * 1_000_003
        size = (2, 2, 3) if small else ()
        world = World(world_seed, *size, **switches)
        with simulated(world):
            try:
                _episode(world, min(EPISODE, faults - done), paces)
            except Violation as error:
                again = f"--seed {world_seed} --faults {EPISODE}{words}"
                raise Violation(f"seed {seed}, fault {done + world.faults} (again by {again}): {error}") from None
        done += world.faults
        returned += world.returned
        run += 1
        tell(world)
    if run > 1 and not returned:
        raise Violation("no program has ever returned, so nothing was tried")
    return done


def _episode(world: World, faults: int, paces: Sequence[float]) -> None:
    world.start_all()
    keeps = world.disk is not None
    pace = world.random.choice(paces) if keeps else PACES[0]
    injector = Faults(world)
    for _ in range(faults):
        if world.has_master and len(world.master.jobs.running()) < JOBS:
            world.begin_job()
        if keeps and world.has_master:
            world.attend()
        world.inside(None, injector.one)
        world.run_for(world.random.expovariate(pace))
    settle(world)
