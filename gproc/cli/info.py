"""`gproc i [NODES]`: the tree, all levels, as a table or as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final

from gproc.addresses import bracketed
from gproc.cli.absent import clock_text, drained_lines
from gproc.cli.events import faults_text
from gproc.cli.naming import meant_by
from gproc.cli.options import InfoOptions
from gproc.cli.stderr import complain
from gproc.cli.style import can_redraw, is_terminal
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.client.inquiry import inquire
from gproc.client.tree import NODE_STATES, rows_of, state_of
from gproc.errors import EXIT_GPROC, GprocError
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import NodeSpec, Place, fold, format_path
from gproc.shown import count_text, shown_text
from gproc.wire.messages import AbsentNode, NodeState, TreeState
from gproc.wire.tree_rows import NodeDrained

InfoRow = NodeState | AbsentNode

COLUMNS: Final = ("NODE", "HOST", "ADDRESS", "STATE", "JOBS", "LOAD", "MEMORY", "VERSION", "SINCE")

MANY: Final = 40
"""More nodes than these are summed up first."""

WATCH_S: Final = 2.0

HOME_AND_CLEAR: Final = "\x1b[H\x1b[2J"


def run(options: InfoOptions) -> int:
    chosen, naming = None, PLACES
    if options.nodes:
        meant = meant_by(options.socket, options.nodes[0])
        meant.check()
        chosen, naming = NodeSpec.parse(meant.nodes), meant.naming
    trace = Trace(options.debug)
    if options.events:
        trace.step(f"asks the master at {options.socket} for faults")
        sys.stdout.write(faults_text(options.socket, chosen, json=options.json))
        return 0
    while True:
        trace.step(f"asks the master at {options.socket} for the tree")
        tree = inquire(options.socket)
        trace.step(f"the master on {tree.master} answered: {len(tree.nodes)} nodes")
        silent = fold([row.place for row in tree.nodes if row.load is None])
        if silent:
            trace.step(f"these did not answer the master in time: {silent}")
        rows = [row for row in rows_of(tree) if chosen is None or chosen.selects(row.place)]
        if chosen is not None and not rows:
            raise GprocError(f"no node of {options.nodes[0]} is there, or was there before")
        text = as_json(tree, rows) if options.json else as_table(tree, rows, naming, all_rows=chosen is not None)
        sys.stdout.write(HOME_AND_CLEAR + text if options.watch and can_redraw(sys.stdout) else text)
        sys.stdout.flush()
        if not options.watch:
            return lacking(chosen, tree, naming)
        time.sleep(WATCH_S)


def lacking(chosen: NodeSpec | None, tree: TreeState, naming: Naming) -> int:
    """Say which nodes were named and are in no row of the tree.  Returns the exit status."""
    there = [row.place for row in rows_of(tree)]  # with the parents of those that are shown
    nodes = naming.missing("" if chosen is None else chosen.missing(there))
    if nodes:
        complain([f"no node of {nodes} is there, or was there before"])
    return EXIT_GPROC if nodes else 0


def as_json(tree: TreeState, rows: Sequence[InfoRow]) -> str:
    """One object.  Times are in seconds of Unix time, loads as in /proc/loadavg, memory in bytes; null: not known."""
    import json

    nodes = [
        {
            "path": format_path(row.place),
            "host": row.node.name,
            "address": bracketed(row.node.address),
            "state": state_of(row),
            "plain_because": row.node.plain_because,
            "python_because": row.node.python_because,
            "jobs": 0 if isinstance(row, AbsentNode) else row.jobs,
            "load": None if isinstance(row, AbsentNode) else row.load,
            "version": row.node.version,
            "memory": None if isinstance(row, AbsentNode) or row.memory is None else row.memory[0],
            "available": None if isinstance(row, AbsentNode) or row.memory is None else row.memory[1],
            "since": row.since_s if isinstance(row, AbsentNode) else row.node.since_s,
            "why": _why(row),
        }
        for row in rows
    ]
    return json.dumps({"master": tree.master, "since": tree.since_s, "nodes": nodes}, indent=2) + "\n"


def as_table(tree: TreeState, rows: Sequence[InfoRow], naming: Naming = PLACES, *, all_rows: bool) -> str:
    """all_rows: also the nodes that are up, no matter how many."""
    lines: list[str] = []
    shown = rows
    if len(rows) > MANY:
        lines.append(summary(rows, naming))
        if is_terminal(sys.stdout) and not all_rows:
            shown = [row for row in rows if state_of(row) != "up"]
    if shown or not rows:
        lines.append(table(COLUMNS, [cells(row) for row in shown], right=("JOBS", "LOAD", "MEMORY")))
    began = clock_text(tree.since_s)
    count = count_text(len(tree.nodes), "node")
    lines.append(f"{count} below the master on {tree.master}, which has been running since {began}")
    if len(shown) < len(rows):
        lines.append("gproc i ./. shows those too that are up")
    return "\n".join([*lines, *notes(rows, naming)]) + "\n"


def summary(rows: Sequence[InfoRow], naming: Naming) -> str:
    """How many nodes are in each state, and which."""
    by_state = {state: [row.place for row in rows if state_of(row) == state] for state in NODE_STATES}
    cells = [(state, str(len(places)), naming.fold(places)) for state, places in by_state.items() if places]
    return table(("STATE", "COUNT", "NODES"), cells, right=("COUNT",))


def cells(row: InfoRow) -> tuple[str, ...]:
    place, node = format_path(row.place), row.node
    version = node.version or "-"
    if isinstance(row, AbsentNode):
        return place, node.name, bracketed(node.address), state_of(row), "-", "-", "-", version, clock_text(row.since_s)
    load = "-" if row.load is None else f"{row.load:.2f}"
    memory = "-" if row.memory is None else f"{gib(row.memory[0] - row.memory[1])}/{gib(row.memory[0])}G"
    since = clock_text(node.since_s)
    return place, node.name, bracketed(node.address), state_of(row), str(row.jobs), load, memory, version, since


def gib(size: int) -> str:
    """GiB, with a digit after the point below ten."""
    return f"{size / (1 << 30):.{1 if size < 10 << 30 else 0}f}"


def notes(rows: Sequence[InfoRow], naming: Naming) -> list[str]:
    """What the table has no room for: why nodes are not as others are."""
    lost: dict[tuple[str, str], list[AbsentNode]] = {}
    for row in rows:
        if isinstance(row, AbsentNode):
            lost.setdefault((state_of(row), shown_text(row.reason)), []).append(row)
    plain = {
        shown_text(f"plain: {row.node.name} has no private view: {row.node.plain_because}")
        for row in rows
        if row.node.plain_because
    }
    slower = {
        shown_text(f"slower: {row.node.name} starts jobs by Python, without the helper: {row.node.python_because}")
        for row in rows
        if row.node.python_because
    }
    absent = [f"{state}: {naming.fold(row.place for row in members)}: {why}" for (state, why), members in lost.items()]
    return [*absent, *drained_notes(rows, naming), *sorted(plain), *sorted(slower)]


def drained_notes(rows: Sequence[InfoRow], naming: Naming) -> list[str]:
    """One line for the nodes that are drained by the same user for the same reason."""
    groups: dict[tuple[int, str], list[tuple[Place, NodeDrained]]] = {}
    for row in rows:
        if isinstance(row, NodeState) and (why := row.drained) is not None:
            groups.setdefault((why.uid, why.reason), []).append((Place(row.place), why))
    return drained_lines(
        [
            (naming.fold(place for place, _ in members), min((why for _, why in members), key=lambda why: why.since_s))
            for members in groups.values()
        ]
    )


def _why(row: InfoRow) -> str:
    if isinstance(row, AbsentNode):
        return row.reason
    return "" if row.drained is None else row.drained.reason
