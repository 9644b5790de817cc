"""What must be in order when no more faults happen: no process keeps anything, and all that was begun has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproc.nodespec import format_path
from gproc.relay.hub import Hub
from gproc.wire.messages import Route
from tests.simulator.facts import Violation

if TYPE_CHECKING:
    from tests.simulator.world import World

QUIET_S: Final = 150.0
"""Within so long after the last fault everything must be in order: some leases, and the longest pauses."""


def settle(world: World) -> None:
    """No more faults: everything must come into order."""
    for slave in world.living():
        world.inside(None, world.network.thaw, slave.process)
    until_s = world.loop.now_s + QUIET_S
    while (why := disorder(world)) and world.loop.now_s < until_s:
        if world.disk is not None and world.has_master:
            world.attend()
        world.run_for(3.0)
    if why:
        raise Violation(f"{QUIET_S:.0f} s after the last fault: {why}")


def disorder(world: World) -> str:
    """What is not in order; "" if nothing."""
    master = world.master
    if not world.has_master:
        return "the master is away"
    for place in world.places:
        slave = world.slaves[place]
        node = None if slave.process.dead else master.registry.by_nonce(slave._voice.nonce)
        if node is None or node.route is None or node.place != place or not slave.is_joined:
            return f"{format_path(place)} is not connected"
        if (found := _at(world, node.route)) is not slave:
            return f"the route of {node} leads to {found}"
        if left := slave.leftovers():
            return f"{format_path(place)} keeps {left}"
    if left := master.jobs.leftovers():
        return left
    routes = sorted(node.route for node in master.registry.known() if node.route is not None)
    if len(routes) != len(world.places) or len(master.registry.known()) != len(routes):
        return f"{len(routes)} routes to {len(master.registry.known())} nodes"
    if master.relayed_jobs or master.absences.places() or master.tree.routes() != routes:
        return f"the master keeps {sorted(master.relayed_jobs)}, {master.absences.places()} and other routes"
    children = [child for hub in (master, *world.slaves.values()) for child in hub.children]
    tokens = sum(len(hub.children._by_token) for hub in (master, *world.slaves.values()))
    if len(children) != len(world.places) or tokens != len(children):
        return f"{len(children)} children of {len(world.places)} nodes, {tokens} tokens"
    below = sum(len(slave.tree) for slave in world.slaves.values())
    if below != (lengths := sum(len(route) - 1 for route in routes)):
        return f"slaves know {below} nodes below them instead of {lengths}"
    return _unfinished(world)


def _unfinished(world: World) -> str:
    """Whether a rank has no outcome, or runs although its job is over."""
    for job, facts in world.jobs.items():
        if not facts.is_gone and len(facts.outcomes) < facts.size:
            return f"of job {job} only the ranks {sorted(facts.outcomes)} have an outcome"
    if running := [key for key, truth in world.truths.items() if truth.lives(world.loop.now_s)]:
        return f"these jobs and ranks still run: {running}"
    if world.disk is not None and (left := world.kept.leftovers(len(world.places))):
        return left
    world.jobs.clear()
    world.truths.clear()
    world.map_facts.clear()
    for slave in world.slaves.values():
        slave.launcher.truths.clear()
    return ""


def _at(world: World, route: Route) -> object:
    hub: Hub = world.master
    for id in route:
        child = hub.children.by_id.get(id)
        if child is None:
            return f"nobody at {format_path(route)}"
        found = [slave for slave in world.living() if slave._voice.nonce == child.node.nonce]
        if not found:
            return "a dead node"
        hub = found[0]
    return hub
