"""What one process may say to another: one closed union of messages for each direction, and its decoder.  Pure.

A receiver decodes with the union of its direction, so what its peer may not say is no message at all, and its own
`match` over the union is proved complete by the type checker (`assert_never`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, Generic, TypeVar, Union

import msgspec

from gproc.errors import PeerError
from gproc.wire.credentials import AskCertificate, Certified, NewKeys, OldKeysEnd, Revocations
from gproc.wire.endings import Acknowledged, OutputGone, RankEnded, Release
from gproc.wire.job_messages import (
    ActedOn,
    AskFailed,
    AskFaults,
    Detach,
    Detached,
    Dismissed,
    DrainNodes,
    Dropped,
    FailedNodes,
    FaultList,
    FindNodes,
    FoundNodes,
    JobList,
    KillJob,
    ListJobs,
    Moment,
    NodesDrained,
    NotKept,
    RemoveJobs,
    SubmitKept,
    Viewing,
    ViewJob,
)
from gproc.wire.loads import Load, Poll
from gproc.wire.merging import AnnounceOutput, AnswerOutput, BringOutput, SameOutput
from gproc.wire.messages import (
    Accepted,
    Arrived,
    AskLease,
    Attach,
    Credit,
    CutOff,
    Finished,
    Goodbye,
    Granted,
    Inquire,
    JobOrder,
    Join,
    Leased,
    Left,
    Message,
    OutOfReach,
    PeerHello,
    PeerReady,
    Ping,
    RefuseJoin,
    Rejected,
    Resize,
    Run,
    SetSources,
    Shutdown,
    SignalJob,
    StageProgress,
    StripeProgress,
    Submit,
    TreeState,
    Unavailable,
    Want,
    Welcome,
)
from gproc.wire.stacks import AskStacks, JobStacks, StacksShown
from gproc.wire.task_messages import SubmitTasks, TaskFinished, TasksConcluded, TaskSpeaks

# Unions are spelled with Union[...]: on Python 3.11 msgspec takes no other form that a type checker takes too.

ClientToMaster = Union[  # noqa: UP007
    Submit, SignalJob, Resize, Credit, Unavailable, Inquire, ListJobs, SubmitKept, Detach, ViewJob, KillJob, RemoveJobs,
    AskFailed, FindNodes, AskFaults, DrainNodes, AskStacks, SubmitTasks
]
MasterToClient = Union[  # noqa: UP007
    Accepted, Rejected, Finished, StageProgress, Credit, Want, TreeState, OutOfReach, JobList, Detached, Dismissed,
    Viewing, Moment, Dropped, ActedOn, FailedNodes, FoundNodes, FaultList, NodesDrained, JobStacks,
    TaskSpeaks, TaskFinished, TasksConcluded, NotKept
]

Opening = Union[Join, Attach, PeerHello]  # noqa: UP007
"""The first message of a connection on the command port."""

JoinAnswer = Union[Welcome, RefuseJoin]  # noqa: UP007

ParentToChild = Union[  # noqa: UP007
    Run,
    JobOrder,
    Credit,
    Acknowledged,
    Release,
    SetSources,
    Granted,
    Leased,
    Poll,
    Shutdown,
    Unavailable,
    Ping,
    Revocations,
    Certified,
    NewKeys,
    OldKeysEnd,
    AnswerOutput,
    CutOff,
]
ChildToParent = Union[  # noqa: UP007
    Arrived,
    Left,
    Goodbye,
    AskLease,
    RankEnded,
    StageProgress,
    StripeProgress,
    Credit,
    Load,
    Want,
    Ping,
    AskCertificate,
    StacksShown,
    SameOutput,
    OutputGone,
    AnnounceOutput,
    BringOutput,
]

PeerToPeer = Union[PeerReady, Want, Unavailable]  # noqa: UP007
"""Both ways of a peer's connection, after its PeerHello: the one that asks wants, the other one sends chunks."""

M = TypeVar("M")


class Direction(Generic[M]):
    """One direction of one kind of connection.

    name: in words, for messages and docs/wire.md.  messages: the types of its union.
    """

    def __init__(self, name: str, union: type[M]) -> None:
        self.name = name
        self.messages: tuple[type[Message], ...] = union.__args__  # type: ignore[attr-defined]
        self._union = union

    @cached_property
    def _decoder(self) -> msgspec.msgpack.Decoder[M]:
        """Made for the first message: a client, which has one direction, would pay 2 ms for the decoders of all."""
        return msgspec.msgpack.Decoder(self._union)

    def decode(self, payload: memoryview) -> M:
        """Raises: PeerError for what is no message of this direction."""
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # The last two are msgspec's for text that is not UTF-8, and for a branch of a thousand levels.
            raise PeerError(f"not a message {self.name}: {error}") from error


CLIENT_TO_MASTER: Final[Direction[ClientToMaster]] = Direction("of a client", ClientToMaster)  # type: ignore[arg-type]
MASTER_TO_CLIENT: Final[Direction[MasterToClient]] = Direction("of the master", MasterToClient)  # type: ignore[arg-type]
OPENING: Final[Direction[Opening]] = Direction("that opens a connection", Opening)  # type: ignore[arg-type]
JOIN_ANSWER: Final[Direction[JoinAnswer]] = Direction("that answers Join", JoinAnswer)  # type: ignore[arg-type]
PARENT_TO_CHILD: Final[Direction[ParentToChild]] = Direction("of a parent", ParentToChild)  # type: ignore[arg-type]
CHILD_TO_PARENT: Final[Direction[ChildToParent]] = Direction("of a child", ChildToParent)  # type: ignore[arg-type]
PEER_TO_PEER: Final[Direction[PeerToPeer]] = Direction("of a peer", PeerToPeer)  # type: ignore[arg-type]

DIRECTIONS: Final = (
    CLIENT_TO_MASTER, MASTER_TO_CLIENT, OPENING, JOIN_ANSWER, PARENT_TO_CHILD, CHILD_TO_PARENT, PEER_TO_PEER,
)  # fmt: skip
