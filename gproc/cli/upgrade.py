"""`gproc upgrade [NODES]`: slaves of another version are started again with this one, idle nodes first."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence

from gproc import __version__
from gproc.cli.node_options import UpgradeOptions
from gproc.cli.nodes_view import NodesView, report
from gproc.cli.start import at_places, await_joined, in_turn, master_towards, parcels_to_send, ways_of
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.client.questions import answer_to
from gproc.errors import EXIT_SIGNAL_BASE, GprocError
from gproc.naming.hosts import fold_hosts
from gproc.nodespec import Place, fold
from gproc.shown import count_text
from gproc.start.changing import upgrading
from gproc.start.fleet import Fleet, Settings, connected_nodes
from gproc.start.master import port_of, tree_there
from gproc.start.node import Result, Stage
from gproc.start.plan import Standing, parents_first
from gproc.start.register import registered
from gproc.trust.authority import open_authority
from gproc.trust.home import gproc_home
from gproc.wire.messages import NodeState, TreeState

LOOK_S = 1.0
"""How often the master is asked whether a node is idle now."""

_ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)

REASON_BEGINS = "gproc upgrade to "
REASON = f"{REASON_BEGINS}{__version__}"


def run(options: UpgradeOptions) -> int:
    home = gproc_home(os.environ)

    def tell(other: str) -> None:
        if options.timeout_s is not None:
            raise GprocError(
                f"{other} has not ended, and no other upgrade can begin before: try again later, or without --timeout, "
                f"to wait for it"
            )
        complain([f"waits for {other}; Ctrl-C leaves the nodes to it"])

    with upgrading(home, tell):
        return _run(options, home)


def _run(options: UpgradeOptions, home: str) -> int:
    began_s = time.monotonic()
    tree = tree_there(options.socket)
    standings = at_places(home, options.nodes[0], options.socket) if options.nodes else registered(home)
    rows = _rows(tree)
    absent = [each for each in standings if each.name not in rows]
    outdated = [each for each in standings if each.name in rows and rows[each.name].node.version != __version__]
    complain(f"{each.host}: not connected: gproc start starts it with {__version__}" for each in absent)
    if not outdated:
        there = len(standings) - len(absent)
        print(f"{count_text(there, 'node')} that gproc start has started run {__version__}")
        return 0
    Trace(options.debug).step(f"starts with {__version__}: {', '.join(each.host for each in outdated)}")
    results = _Upgrade(options, home, outdated, port_of(tree, options.cmd_port)).run(tree)
    return report(outdated, results, json=options.json, seconds=time.monotonic() - began_s)


class _Upgrade:
    """The nodes take no new jobs until they have the new version; each is started again when no job runs there."""

    def __init__(self, options: UpgradeOptions, home: str, outdated: Sequence[Standing], master_port: int) -> None:
        self._options = options
        self._home = home
        self._outdated = outdated
        self._authority = open_authority(home, create=False)
        self._parcels = parcels_to_send()
        self._settings = Settings(
            master=options.address or master_towards(outdated[0]), master_port=master_port, cmd_port=options.cmd_port,
            bin_root=options.bin_root, parallel=options.parallel, debug=options.debug,
        )  # fmt: skip
        self._view = NodesView(outdated, json=options.json)
        self._results: dict[str, Result] = {}

    def run(self, tree: TreeState) -> dict[str, Result]:
        """Upgrade the outdated nodes.  Returns each host's result."""
        rows = _rows(tree)
        # Another upgrade that was killed has left them drained: no other one is at work.
        ours = [
            each
            for each in self._outdated
            if (drained := rows[each.name].drained) is None or drained.reason.startswith(REASON_BEGINS)
        ]
        for signum in _ENDING:
            if signal.getsignal(signum) != signal.SIG_IGN:  # nohup
                signal.signal(signum, _end)
        try:
            self._drain(ours, resume=False)
            self._start_all()
        finally:
            self._view.close()
            connected = _rows(tree_there(self._options.socket))
            self._drain([each for each in ours if each.name in connected], resume=True)
        return self._results

    def _start_all(self) -> None:
        timeout_s = self._options.timeout_s
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        left = list(self._outdated)
        told = False
        while left:
            # Others have their turn while this one waits for jobs.
            with in_turn(self._home, "upgrade"):
                started = self._start_idle(left)
            left = [each for each in left if each not in started]
            if started:
                continue
            if time.monotonic() >= until_s:
                for each in left:
                    self._results[each.host] = Result(Stage.FAILED, "jobs still run there")
                    self._view.done(each, self._results[each.host])
                return
            if not told and not self._options.json:
                busy = fold_hosts(sorted(each.host for each in left))
                complain([f"waits for the jobs on {busy}; Ctrl-C leaves these nodes"])
                told = True
            time.sleep(LOOK_S)

    def _start_idle(self, left: Sequence[Standing]) -> list[Standing]:
        """The nodes that are idle now and were started again, perhaps by another command meanwhile."""
        tree = tree_there(self._options.socket)
        rows = _rows(tree)
        new = [each for each in left if each.name in rows and rows[each.name].node.version == __version__]
        self._results |= {each.host: Result(Stage.UP, "was up") for each in new}
        idle = [each for each in left if each not in new and (each.name not in rows or not rows[each.name].jobs)]
        if idle:
            self._start(parents_first(idle), tree)
        return new + idle

    def _start(self, idle: Sequence[Standing], tree: TreeState) -> None:
        connected = connected_nodes([(row.node.name, row.node.address) for row in tree.nodes])
        ways = ways_of(self._options, idle, self._view, starts=True)
        fleet = Fleet(self._authority, self._parcels, ways, self._settings, connected, self._view)
        results = asyncio.run(fleet.start(idle))
        await_joined(self._options.socket, {each.name for each in idle if results[each.host].stage is Stage.UP})
        self._results |= results

    def _drain(self, standings: Collection[Standing], *, resume: bool) -> None:
        if standings:
            nodes, reason = fold(Place(each.place) for each in standings), "" if resume else REASON
            answer_to(self._options.socket, lambda session: session.drain(nodes, reason, resume=resume))


def _end(signum: int, _: object) -> None:
    """As Ctrl-C: nodes that wait for jobs take new ones again, and a second signal does not keep us from that."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(EXIT_SIGNAL_BASE + signum)


def _rows(tree: TreeState) -> dict[str, NodeState]:
    """The nodes by the name in each certificate."""
    return {row.node.name: row for row in tree.nodes}
