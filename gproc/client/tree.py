"""The tree and the results of copies, as values of the library."""

from __future__ import annotations

from typing import Literal

import msgspec

from gproc.client.complaints import Complaints
from gproc.client.session import SessionJob
from gproc.errors import GprocError
from gproc.nodespec import format_path
from gproc.request.outcome import Outcome
from gproc.wire.messages import NodeState, TreeState


class NodeStatus(msgspec.Struct, frozen=True):
    """A connected node.

    node: its place ("1/7").  host, address: its name, and "host:port" where its children dial.
    state: "plain" if jobs run there without a private view, because of `plain_because`; "silent" if it did not answer.
    jobs: how many run there.  load: one-minute average; None if it did not answer.  since_s: Unix time.
    """

    node: str
    host: str
    address: str
    state: Literal["up", "plain", "silent"]
    plain_because: str
    jobs: int
    load: float | None
    since_s: float


class TreeInfo(msgspec.Struct, frozen=True):
    """The tree.  master: the master's host.  since_s: when it began, in Unix time.  nodes: parents before children."""

    master: str
    since_s: float
    nodes: tuple[NodeStatus, ...]


def state_of(row: NodeState) -> Literal["up", "plain", "silent"]:
    if row.load is None:
        return "silent"
    return "plain" if row.node.plain_because else "up"


def tree_info(state: TreeState) -> TreeInfo:
    nodes = tuple(
        NodeStatus(
            format_path(row.place), row.node.name, row.node.address, state_of(row), row.node.plain_because, row.jobs,
            row.load, row.node.since_s,
        )
        for row in state.nodes
    )  # fmt: skip
    return TreeInfo(state.master, state.since_s, nodes)


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
