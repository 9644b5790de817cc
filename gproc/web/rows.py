"""The tree and the jobs as JSON objects, and what has changed between two looks.  docs/web.md has the schemas."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from gproc.client.events import Event, Exited, Output, Skipped, Started, Unreached
from gproc.client.known import JobInfo, TransferInfo, command_of
from gproc.client.tree import NodeStatus
from gproc.client.watching import Look
from gproc.request.wording import describe
from gproc.shown import shown_text

VERSION: Final = 1
"""The version of the schemas.  Fields may be added without another number."""

JsonRow = dict[str, Any]
T = TypeVar("T")


class Told(msgspec.Struct, frozen=True):
    """What one browser has been told: rows by their names."""

    head: JsonRow = {}
    nodes: Mapping[str, JsonRow] = {}
    jobs: Mapping[str, JsonRow] = {}


def told_of(look: Look, name_of_user: Callable[[int], str]) -> Told:
    """Everything, as rows."""
    tree = look.tree
    head: JsonRow = {
        "master": shown_text(tree.master) if tree else "", "since": tree.since_s if tree else 0, "trouble": look.trouble
    }  # fmt: skip
    jobs = (job_row(job, name_of_user(job.uid), look.rates.get(job.number)) for job in look.jobs)
    return Told(
        head,
        {row["node"]: row for row in map(node_row, tree.nodes if tree else ())},
        {str(row["job"]): row for row in jobs},
    )


def node_row(node: NodeStatus) -> JsonRow:
    return {
        "node": node.node,
        "host": shown_text(node.host),
        "address": shown_text(node.address),
        "state": node.state,
        "plain_because": shown_text(node.plain_because),
        "jobs": node.jobs,
        "load": None if node.load is None else round(node.load, 1),
        "since": node.since_s,
        "why": shown_text(node.why),
        "version": shown_text(node.version),
        "memory": node.memory_bytes,
        "available": node.available_bytes,
    }


def transfer_row(transfer: TransferInfo, rate: float | None) -> JsonRow:
    """rate: bytes per second; None: not known yet."""
    return {
        "kind": transfer.kind, "nodes": transfer.nodes, "complete": transfer.complete, "bytes": transfer.bytes,
        "total": transfer.total_bytes, "rate": None if rate is None else round(rate),
    }  # fmt: skip


def job_row(job: JobInfo, user: str, rate: float | None = None) -> JsonRow:
    return {
        "job": job.number,
        "name": shown_text(job.name),
        "uid": job.uid,
        "user": user,
        "nodes": job.nodes,
        "state": job.state,
        "status": job.returncode,
        "started": job.started_s,
        "ended": job.ended_s,
        "command": command_of(job),
        "transfer": None if job.transfer is None else transfer_row(job.transfer, rate),
    }


def change(before: Told | None, after: Told) -> JsonRow | None:
    """What a browser has to be told; None if nothing.  before: None if it has been told nothing."""
    known = before or Told()
    nodes, jobs = _changed(known.nodes, after.nodes), _changed(known.jobs, after.jobs)
    gone_nodes, gone_jobs = _gone(known.nodes, after.nodes), _gone(known.jobs, after.jobs)
    if before is not None and known.head == after.head and not (nodes or jobs or gone_nodes or gone_jobs):
        return None
    return {
        "version": VERSION, **after.head, "nodes": nodes, "jobs": jobs, "gone_nodes": gone_nodes, "gone_jobs": gone_jobs
    }  # fmt: skip


def _changed(before: Mapping[str, JsonRow], after: Mapping[str, JsonRow]) -> Sequence[JsonRow]:
    return [row for name, row in after.items() if before.get(name) != row]


def _gone(before: Mapping[str, JsonRow], after: Mapping[str, JsonRow]) -> Sequence[str]:
    return [name for name in before if name not in after]


class OutputRows:
    """What a job writes, as rows.  A character that comes in two pieces is put together."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, str], codecs.IncrementalDecoder] = {}

    def rows(self, event: Event) -> Iterator[JsonRow]:
        match event:
            case Output(node, stream, data, rank):
                if (rank, stream) not in self._texts:
                    self._texts[rank, stream] = codecs.getincrementaldecoder("utf-8")("replace")
                yield {"node": node, "stream": stream, "text": self._texts[rank, stream].decode(data)}
            case Exited(node, outcome, rank):
                yield from self._broken_off(node, rank)
                yield {"node": node, "ended": describe(outcome) or "exit status 0"}
            case Skipped(node, stream, size):
                yield {"node": node, "stream": stream or "stdout", "skipped": size}
            case Started(nodes=names):
                yield {"started": list(names)}
            case Unreached(unreached, reason):
                yield {"node": unreached, "unreached": shown_text(reason)}
            case _:
                return

    def _broken_off(self, node: str, rank: int) -> Iterator[JsonRow]:
        """A sign for a character of which the end never came, for each stream."""
        for stream in ("stdout", "stderr"):
            text = self._texts.pop((rank, stream), None)
            if text is not None and (rest := text.decode(b"", final=True)):
                yield {"node": node, "stream": stream, "text": rest}
