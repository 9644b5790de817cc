"""The product's rules in a simulated world."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import gproc.node.taking
import gproc.node.tasks
import gproc.records.inputs
import gproc.records.keeper
import gproc.records.spool
import gproc.records.task_lists
import gproc.relay.announcing
import gproc.relay.children
import gproc.relay.common
import gproc.relay.delivery
import gproc.relay.hub
import gproc.relay.merging
import gproc.service.job_windows
import gproc.service.listed
import gproc.service.service
import gproc.trust.tls
import gproc.wire.credit
import gproc.wire.frames
import gproc.wire.merging
from gproc.trust.signing import Signer
from tests.simulator import programs
from tests.simulator.clock import replaced, seldom_collected, virtual_time
from tests.simulator.disk import FullDatabase
from tests.simulator.front import SimJob
from tests.simulator.nodes import Quiet
from tests.simulator.signatures import cheap_signatures
from tests.simulator.world import World


@contextlib.contextmanager
def simulated(world: World) -> Iterator[World]:
    """The product's rules see the simulated clock, small windows, and no world outside."""
    log = logging.getLogger("gproc")
    patches = [
        replaced(gproc.node.taking, "warded_program", programs.make_program),
        replaced(gproc.relay.children, "ChunkSender", Quiet),
        replaced(gproc.relay.hub, "Memory", Quiet),
        replaced(gproc.node.tasks, "KEPT_BYTES", programs.KEPT_BYTES),
        replaced(gproc.relay.delivery, "ACKNOWLEDGED_BYTES", programs.KEPT_BYTES // 4),
        replaced(gproc.relay.merging, "LEAST_BYTES", 16),
        replaced(gproc.relay.merging, "LINK_BYTES", programs.KEPT_BYTES),
        replaced(gproc.relay.merging, "JOB_BYTES", 3 * programs.KEPT_BYTES),
        replaced(gproc.wire.merging, "PART_BYTES", 32),
        replaced(gproc.relay.announcing, "ANNOUNCED_BYTES_MIN", 24 if programs.Saying.is_alike else 1 << 20),
        replaced(gproc.relay.common, "ANNOUNCED_BYTES_MIN", 24),
        replaced(gproc.relay.common, "POOL_BYTES", programs.KEPT_BYTES),
        replaced(gproc.relay.common, "PAUSED_POOL_BYTES", programs.KEPT_BYTES // 2),
        replaced(gproc.relay.common, "PROBED_BYTES", 2 * programs.KEPT_BYTES),
        replaced(gproc.relay.common, "PAUSE_BYTES", 4 * programs.KEPT_BYTES),
        replaced(gproc.wire.credit, "MIN_WINDOW_BYTES", 256),
        replaced(gproc.wire.credit, "MAX_WINDOW_BYTES", programs.KEPT_BYTES),
        replaced(gproc.wire.frames, "CLIENT_WINDOW_BYTES", programs.KEPT_BYTES),
        replaced(gproc.service.job_windows, "SPOOL_WINDOW_BYTES", programs.KEPT_BYTES // 4),
        replaced(gproc.service.service, "LiveJob", SimJob),
        replaced(gproc.records.spool, "FILE_BYTES", 4 * programs.KEPT_BYTES),
        replaced(gproc.records.task_lists, "READ_BYTES", 300),
        replaced(gproc.service.listed, "OUT_BYTES_MAX", 600),
        replaced(SimJob, "world", world),
        replaced(gproc.trust.tls, "is_master", lambda _: False),
    ]
    if world.disk is not None:
        patches += [
            replaced(gproc.records.keeper, "ThreadPoolExecutor", world.disk.new_thread),
            replaced(gproc.records.spool, "write_all", world.disk.write_all),
        ]
    if world.disk is not None and world.switches.refuses:
        patches += [
            replaced(gproc.records.inputs, "write_all", world.disk.write_all),
            replaced(gproc.records.task_lists, "_write_all", world.disk.write_list),
            replaced(gproc.records.keeper, "JobDatabase", FullDatabase),
            replaced(FullDatabase, "disk", world.disk),
        ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(virtual_time(world.clocks))
        stack.enter_context(cheap_signatures())
        world.signer = Signer(b"m" * 32)
        stack.enter_context(seldom_collected())
        for patch in patches:
            stack.enter_context(patch)
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        try:
            yield world
        finally:
            for slave in world.slaves.values():
                slave.process.dead = True
            if world.disk is not None and world.has_master:
                world.master.crash()
            world.master.process.dead = True
            world.loop.close()
            if world.disk is not None:
                world.disk.close()
