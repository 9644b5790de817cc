"""The tree and the results of copies, as values of the library."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from gproc.addresses import bracketed
from gproc.client.complaints import Complaints
from gproc.client.session_job import SessionJob
from gproc.errors import GprocError
from gproc.nodespec import format_path
from gproc.request.outcome import Outcome
from gproc.wire.messages import AbsentNode, NodeState, TreeState
from gproc.wire.tree_rows import MasterCounts

NodeStateName = Literal["up", "plain", "drained", "silent", "unreachable", "down"]
NODE_STATES: Final[tuple[NodeStateName, ...]] = get_args(NodeStateName)


class NodeStatus(msgspec.Struct, frozen=True):
    """A node of the tree, or one that was in it and was not stopped.

    node: its place ("1/7").  host, address: its name, and "host:port" where its children dial.
    state: "plain" if jobs run there without a private view, because of `plain_because`; "drained" if it takes no new
    jobs; "silent" if it did not answer;
    "unreachable" if no way leads to it, but its programs may run; "down" if they have ended too.
    jobs: how many run there.  load: one-minute average; None if it did not answer.  since_s: when it joined, or was
    lost, in Unix time.  why: why it was lost, or drained.  version: of its gproc.
    memory_bytes, available_bytes: of its machine, in all and for programs; None if it did not say.
    """

    node: str
    host: str
    address: str
    state: NodeStateName
    plain_because: str
    jobs: int
    load: float | None
    since_s: float
    why: str = ""
    version: str = ""
    memory_bytes: int | None = None
    available_bytes: int | None = None


class TreeInfo(msgspec.Struct, frozen=True):
    """The tree.

    master: the master's host.  since_s: when it began, in Unix time.  nodes: parents before children.  counts: what it
    has done since then; None if it does not count.
    """

    master: str
    since_s: float
    nodes: tuple[NodeStatus, ...]
    counts: MasterCounts | None = None


def state_of(row: NodeState | AbsentNode) -> NodeStateName:
    if isinstance(row, AbsentNode):
        return "unreachable" if row.may_run else "down"
    if row.load is None:
        return "silent"
    if row.drained is not None:
        return "drained"
    return "plain" if row.node.plain_because else "up"


def tree_info(state: TreeState) -> TreeInfo:
    return TreeInfo(state.master, state.since_s, tuple(map(status_of, rows_of(state))), state.counts)


def rows_of(state: TreeState) -> list[NodeState | AbsentNode]:
    """All nodes, those that are absent too, in the order of their places."""
    return sorted((*state.nodes, *state.absent), key=lambda row: row.place)


def status_of(row: NodeState | AbsentNode) -> NodeStatus:
    node, place = row.node, format_path(row.place)
    if isinstance(row, AbsentNode):
        return NodeStatus(
            place, node.name, bracketed(node.address), state_of(row), "", 0, None, row.since_s, row.reason, node.version
        )
    memory, available = row.memory or (None, None)
    why = "" if row.drained is None else row.drained.reason
    return NodeStatus(
        place, node.name, bracketed(node.address), state_of(row), node.plain_because, row.jobs, row.load, node.since_s,
        why, node.version, memory, available,
    )  # fmt: skip


class CopyResult(msgspec.Struct, frozen=True):
    """The result of a copy.

    returncode: what `gproc cp` would end with: 1 if something could not be copied.
    complaints: a line for each failure, with its nodes.  outcomes: by node.
    """

    returncode: int
    complaints: tuple[str, ...]
    outcomes: dict[str, Outcome]

    @classmethod
    def of(cls, job: SessionJob, complaints: Complaints) -> CopyResult:
        status, lines = complaints.told(job.outcomes, job.missing)
        return cls(status, tuple(lines), job.outcomes_by_node())

    def checked(self, check: bool) -> CopyResult:
        """Raises: CopyFailed if something went wrong and `check` is True."""
        if check and self.returncode:
            raise CopyFailed(self)
        return self


class CopyFailed(GprocError):
    """Not everything was copied.  result: of the copy."""

    def __init__(self, result: CopyResult) -> None:
        super().__init__("; ".join(result.complaints) or f"exit status {result.returncode}")
        self.result = result
