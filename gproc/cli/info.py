"""`gproc i`: the tree, all levels, as a table or as JSON."""

from __future__ import annotations

import sys
import time

from gproc.cli.options import InfoOptions
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.client.inquiry import inquire
from gproc.client.tree import state_of
from gproc.nodespec import fold, format_path
from gproc.shown import shown_text
from gproc.wire.messages import TreeState

COLUMNS = ("NODE", "HOST", "ADDRESS", "STATE", "JOBS", "LOAD", "SINCE")


def run(options: InfoOptions) -> int:
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} for the tree")
    tree = inquire(options.socket)
    trace.step(f"the master on {tree.master} answered: {len(tree.nodes)} nodes")
    silent = fold([row.place for row in tree.nodes if row.load is None])
    if silent:
        trace.step(f"these did not answer the master in time: {silent}")
    sys.stdout.write(as_json(tree) if options.json else as_table(tree))
    return 0


def as_json(tree: TreeState) -> str:
    """One object.  Times are in seconds of Unix time, loads as in /proc/loadavg; null if a node did not answer."""
    import json

    nodes = [
        {
            "path": format_path(row.place),
            "host": row.node.name,
            "address": row.node.address,
            "state": state_of(row),
            "plain_because": row.node.plain_because,
            "python_because": row.node.python_because,
            "jobs": row.jobs,
            "load": row.load,
            "since": row.node.since_s,
        }
        for row in tree.nodes
    ]
    return json.dumps({"master": tree.master, "since": tree.since_s, "nodes": nodes}, indent=2) + "\n"


def as_table(tree: TreeState) -> str:
    rows = [
        (
            format_path(row.place),
            row.node.name,
            row.node.address,
            state_of(row),
            str(row.jobs),
            "-" if row.load is None else f"{row.load:.2f}",
            since(row.node.since_s),
        )
        for row in tree.nodes
    ]
    lines = [table(COLUMNS, rows, right=("JOBS", "LOAD"))]
    began = since(tree.since_s)
    lines.append(f"{len(tree.nodes)} nodes below the master on {tree.master}, which has been running since {began}")
    lines += sorted(
        {
            shown_text(f"plain: {row.node.name} has no private view: {row.node.plain_because}")
            for row in tree.nodes
            if row.node.plain_because
        }
    )
    lines += sorted(
        {
            shown_text(f"slower: {row.node.name} starts jobs by Python, without the helper: {row.node.python_because}")
            for row in tree.nodes
            if row.node.python_because
        }
    )
    return "\n".join(lines) + "\n"


def since(moment_s: float) -> str:
    moment = time.localtime(moment_s)
    today = time.localtime()
    same_day = (moment.tm_year, moment.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", moment)
