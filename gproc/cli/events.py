"""`gproc i --events`: the last faults of the tree, a line each."""

from __future__ import annotations

from collections.abc import Sequence

from gproc.cli.absent import clock_text
from gproc.client.questions import answer_to
from gproc.nodespec import NodeSpec, format_path
from gproc.shown import shown_text
from gproc.wire.job_messages import FaultList, FaultRow


def faults_text(socket: str, chosen: NodeSpec | None, *, json: bool) -> str:
    """The faults of the chosen nodes, the oldest first; None: of all nodes.  Raises: GprocError."""
    answer = answer_to(socket, lambda session: session.ask_faults())
    assert isinstance(answer, FaultList)
    rows = [row for row in answer.faults if chosen is None or _concerns(row, chosen)]
    return as_json(rows) if json else "".join(line(row) + "\n" for row in rows)


def _concerns(row: FaultRow, chosen: NodeSpec) -> bool:
    """Whether it is about one of these nodes, or about nodes below its place when some there are chosen."""
    depth = len(row.place)
    deeper = (path.levels for path in chosen.paths if row.below and len(path.levels) > depth)
    return chosen.selects(row.place) or any(
        all(first <= node <= last for node, (first, last) in zip(row.place, levels, strict=False)) for levels in deeper
    )


def line(row: FaultRow) -> str:
    done = f"{row.done} at {clock_text(row.done_s)}" if row.done_s and row.done_s != row.since_s else row.done
    place = format_path(row.place) or "master"
    return shown_text(f"{clock_text(row.since_s)} {place} ({row.host}): {row.what}; {done}")


def as_json(rows: Sequence[FaultRow]) -> str:
    """A list of objects.  Times are in seconds of Unix time; null: it goes on."""
    import json

    faults = [
        {
            "path": format_path(row.place), "host": row.host, "what": row.what, "since": row.since_s,
            "done": row.done, "done_at": row.done_s or None, "nodes_below": row.below,
        }
        for row in rows
    ]  # fmt: skip
    return json.dumps(faults, indent=2) + "\n"
