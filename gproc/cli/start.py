"""`gproc start`: a master and slaves, over ssh, on hosts that need nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from gproc.cli.by_hand import those_by_hand
from gproc.cli.naming import meant_by
from gproc.cli.node_options import SlaveStartOptions, SshOptions, StartOptions
from gproc.cli.nodes_view import NodesView, report
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.errors import UsageError
from gproc.locales import Options, Role, load
from gproc.naming.hostlist import HOSTS_MAX, expand
from gproc.naming.hosts import fold_hosts
from gproc.naming.words import FAILED, Words, joined
from gproc.nodespec import NodeSpec, format_path
from gproc.runtime.making import Runtime, runtime_for, runtime_of_this_machine
from gproc.shown import quoted_text
from gproc.start import plan, slurm
from gproc.start.changing import changing
from gproc.start.fleet import Fleet, Settings, connected_nodes
from gproc.start.giving import Parcel, Parcels
from gproc.start.master import address_of, address_towards, check_reachable, port_of, start_master, tree_of
from gproc.start.node import Result, Stage
from gproc.start.plan import Standing, parents_first
from gproc.start.register import forget, registered, remember
from gproc.start.ssh import Ways, import_asyncssh
from gproc.trust.authority import Authority, open_authority
from gproc.trust.home import gproc_home
from gproc.wire.messages import TreeState

JOINED_S = 5.0
"""A slave that has joined a rack master is known to the master a moment later."""


def run(options: StartOptions) -> int:
    began_s = time.monotonic()
    home = gproc_home(os.environ)
    with in_turn(home, "start"):
        master, status = _run(options, home, began_s)
    if master is not None and options.foreground:
        return _stay(master)
    return status


def in_turn(home: str, verb: str) -> AbstractContextManager[None]:
    """The lock for as long as a command changes the tree."""
    return changing(home, verb, lambda sentence: complain([sentence]))


def _run(options: StartOptions, home: str, began_s: float) -> tuple[subprocess.Popen[bytes] | None, int]:
    """The master, if it was started here, and the exit status."""
    trace = Trace(options.debug)
    standings = _wanted(options, home)
    parcels = parcels_to_send()
    trace.step(f"runtime {parcels.own.digest}, {len(parcels.own.archive)} bytes, for {len(standings)} hosts")
    authority = open_authority(home, create=True)
    address = _master_address(options, standings)
    tree = tree_of(options.socket)
    if options.locale == slurm.SLURM:
        _forget_former_allocations(home, tree)
    master: subprocess.Popen[bytes] | None = None
    port = port_of(tree, options.cmd_port)
    if tree is None:
        switches = [f"--locale={options.locale}", f"--cmd-port={options.cmd_port}", f"--bin-root={options.bin_root}"]
        # A name, if only ssh can tell by which address nodes reach it: it listens at all of them.
        switches += [f"--address={address or socket.gethostname()}"] if address or options.locale == "local" else []
        master = start_master(
            home, options.socket, switches, foreground=options.foreground, meanwhile=lambda: _import_for(options)
        )
        trace.step(f"started the master, process {master.pid}, at {options.socket}")
    elif address:
        check_reachable(address, port)
    try:
        status = start_nodes(
            options, home, authority, parcels, standings, tree, options.address or address, port, began_s
        )
    except BaseException:
        if master is not None and options.foreground:
            master.terminate()
        raise
    return master, status


def _import_for(options: StartOptions) -> None:
    """Import what logins need, which takes as long as a master's start."""
    if not options.ssh_command and not slurm.nodes_of_allocation(os.environ):
        import_asyncssh()


def start_nodes(
    options: SlaveStartOptions, home: str, authority: Authority, parcels: Parcels,
    standings: Sequence[Standing], tree: TreeState | None, master: str, port: int, began_s: float,
    afresh: bool = False,
) -> int:  # fmt: skip
    """Start the hosts that are not in the tree; the exit status.  master, port: the address that they dial.  afresh:
    start also those that are in the tree."""
    rows = [] if tree is None else [(row.node.name, row.node.address) for row in tree.nodes]
    connected = connected_nodes(rows)
    present = set() if afresh else {name for name, _ in rows}
    missing = [standing for standing in standings if standing.name not in present]
    known = {each.name for each in registered(home)}
    places = {} if tree is None else {row.node.name: tuple(row.place) for row in tree.nodes}
    # A slave that was started otherwise, and is elsewhere in the tree, is not ours to stop.
    others = {each.name for each in standings if each.name in present - known and places[each.name] != each.place}
    results = {
        standing.host: Result(Stage.UP, "was up, and not by gproc start" if standing.name in others else "was up")
        for standing in standings
        if standing.name in present
    }
    remember(home, [each for each in standings if each.name not in others])
    settings = Settings(
        master=master, master_port=port, cmd_port=options.cmd_port,
        bin_root=options.bin_root, parallel=options.parallel, debug=options.debug,
    )  # fmt: skip
    view = NodesView(missing, json=options.json)
    fleet = Fleet(authority, parcels, ways_of(options, missing, view, starts=True), settings, connected, view)
    try:
        results |= asyncio.run(fleet.start(parents_first(missing)))
    finally:
        view.close()
    await_joined(options.socket, {each.name for each in standings if results[each.host].stage is Stage.UP})
    return report(standings, results, json=options.json, master=master, seconds=time.monotonic() - began_s)


def _forget_former_allocations(home: str, tree: TreeState | None) -> None:
    """Raises: UsageError if the master has nodes of another one."""
    nodes = set(slurm.nodes_of_allocation(os.environ))
    if tree is not None and (others := {row.node.name for row in tree.nodes} - nodes):
        raise UsageError(
            f"the master here has nodes that are not of this allocation, {fold_hosts(sorted(others))}: end it by"
            " gproc stop, or give another --socket and --cmd-port"
        )
    forget(home, [each for each in registered(home) if each.host not in nodes])


def ways_of(options: SshOptions, standings: Sequence[Standing], view: NodesView, *, starts: bool) -> Ways:
    """Inside a Slurm allocation its nodes are reached by srun."""
    timeout_s = options.connect_timeout_s
    if not options.ssh_command and slurm.is_of_allocation({each.host for each in standings}, os.environ):
        command = slurm.STARTING_COMMAND if starts else slurm.COMMAND
        return Ways(command, connect_timeout_s=timeout_s, attended=starts)
    return Ways(options.ssh_command, options.accept_new_host_keys, timeout_s, asker=view.asker)


def parcels_to_send() -> Parcels:
    def other(machine: str) -> Parcel | None:
        runtime = runtime_for(os.environ, machine)
        return None if runtime is None else parcel_of(runtime)

    return Parcels(parcel_of(runtime_of_this_machine(os.environ, making=_tell_of_making)), other)


def _tell_of_making() -> None:
    complain(["packs what nodes are sent, once for each version of gproc; that takes some seconds"])


def parcel_of(runtime: Runtime) -> Parcel:
    digest = hashlib.sha256(runtime.helper).hexdigest()[:32]
    return Parcel(runtime.machine, runtime.helper, digest, runtime.digest, runtime.archive)


def at_places(home: str, nodes: str, socket_path: str) -> list[Standing]:
    """The hosts that were started at these places, or that are named.  Raises: UsageError if there is none."""
    known = registered(home)
    chosen = started_at(known, nodes, socket_path)
    if not chosen:
        started = f": those started are {', '.join(format_path(each.place) for each in known[:20])}" if known else ""
        by_hand = those_by_hand(socket_path, NodeSpec.parse(meant_by(socket_path, nodes).nodes))
        raise UsageError(f"gproc start has started no node at {nodes}{by_hand or started}")
    return chosen


def started_at(known: Sequence[Standing], nodes: str, socket_path: str) -> list[Standing]:
    """A host is found by its name here, whether or not a master knows it.  Raises: UsageError."""
    words = Words.parse(nodes)
    names: set[str] = set()
    if words.hosts and not any(operand.is_group for operand in words.hosts):
        from gproc.naming.expanding import names_of

        names = set(names_of(words.hosts, lambda _: ()))
        nodes = joined(words.paths, FAILED if words.failed else "")
    spec = NodeSpec.parse(meant_by(socket_path, nodes).nodes) if nodes else NodeSpec(())
    chosen = [each for each in known if spec.selects(each.place) or {each.host, each.name} & names]
    if unknown := names - {name for each in chosen for name in (each.host, each.name)}:
        by_hand = those_by_hand(socket_path, NodeSpec(()), unknown)
        raise UsageError(f"gproc start has started nothing on {fold_hosts(sorted(unknown))}{by_hand}")
    return chosen


def _wanted(options: StartOptions, home: str) -> list[Standing]:
    known = registered(home)
    if options.hosts:
        if options.low or options.high or options.failed:
            raise UsageError("-w names the hosts: -l, -h and --failed do not go with it")
        chosen = plan.planned(expand(options.hosts), options.fanout, known)
    elif options.low or options.high or options.locale != "local":
        chosen = _by_locale(options)
    elif known:
        chosen = known
    else:
        raise UsageError("which hosts? -w node[01-20], or -locale=NAME with -l and -h, or a locale's TOML file")
    chosen = plan.of_level(chosen, _level(options))
    if not chosen:
        raise UsageError(f"no host is at level {options.level[0]} of the tree")
    return chosen


def _by_locale(options: StartOptions) -> list[Standing]:
    locale = load(options.locale)
    ends = getattr(locale, "first_and_last", None)
    first, last = ends() if ends is not None else (options.low, options.high)
    low, high = options.low or first, options.high or last
    if not low or not high:
        raise UsageError(f"locale {options.locale} does not say which nodes it has: give -l and -h")
    if low > high:
        raise UsageError(f"the first node, {low}, is above the last, {high}")
    if high - low >= HOSTS_MAX:
        count = high - low + 1
        raise UsageError(f"nodes {low} to {high} are {count} nodes, more than {HOSTS_MAX}: name fewer by -l and -h")
    return plan.by_locale(locale, range(low, high + 1), options.cmd_port)


def _level(options: StartOptions) -> int:
    word = options.level[0] if options.level else "0"
    if not (word.isascii() and word.isdigit() and len(word) <= 2):
        raise UsageError(f"LEVEL {quoted_text(word)} is not a level of the tree, such as 1 or 2")
    return int(word)


def _master_address(options: StartOptions, standings: Sequence[Standing]) -> str:
    """Where nodes dial the master; "" if only ssh can tell."""
    if options.address:
        return options.address
    if options.locale != "local":
        placement = load(options.locale).place(Role.MASTER, "", Options(cmd_port=options.cmd_port))
        if placement.address:
            return placement.address
    host = plan.name_of(standings[0].host)
    return address_towards(standings[0].address or address_of(host) or host)


def master_towards(standing: Standing) -> str:
    """This machine's address on the way to a host: where that dials the master."""
    return address_towards(standing.address or address_of(plan.name_of(standing.host)))


def await_joined(socket_path: str, names: set[str]) -> None:
    """Wait a moment until the master knows these nodes."""
    until_s = time.monotonic() + JOINED_S
    while time.monotonic() < until_s:
        tree = tree_of(socket_path)
        if tree is None or names <= {row.node.name for row in tree.nodes}:
            return
        time.sleep(0.02)


def _stay(master: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return master.wait()
        except KeyboardInterrupt:  # it has got it too, and ends the tree
            continue
