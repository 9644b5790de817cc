"""Every control message, as a type: what two processes of gproc can say to each other.  Pure.

`gproc.wire.directions` says which process may send which of them to which other.  A message is encoded as a msgpack
array with its tag first.  scripts/wire_document.py makes docs/wire.md from this module's types and docstrings.
"""

from __future__ import annotations

from typing import Annotated, Final, NewType

import msgspec

from gproc.errors import UsageError
from gproc.request.outcome import Outcome
from gproc.request.signals import can_be_sent
from gproc.request.spec import Request, TerminalSize
from gproc.shown import shown_text
from gproc.wire import frames
from gproc.wire.branch import Branch, ByteCount, Load1, NodeNumber, Number, StreamBytes, UnixTime
from gproc.wire.offer import MergeOffer
from gproc.wire.proofs import KeyProof
from gproc.wire.tags import tag_of
from gproc.wire.tree_rows import MasterCounts, NodeDrained

NAME_CHARACTERS_MAX: Final = 300
"""The limit of a host's name or an address that a node says: a DNS name has 253 (RFC 1035), a port six more."""

REASON_CHARACTERS_MAX: Final = 4096
"""The limit of a sentence for people: a path of PATH_MAX fits."""

Route = NewType("Route", tuple[NodeNumber, ...])
"""The links by which a node is reached now, from the node that speaks down to it: the number of the child at each.
At the master it is the same as the node's `gproc.nodespec.Place` until something dies: `gproc.relay.adoption`."""

Rank = Annotated[int, msgspec.Meta(ge=0, lt=frames.EVERY_RANK)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]
Reason = Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS_MAX)]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One control message.

    A newer version may append fields with defaults: a receiver ignores those that it does not know.
    """


# What is said of a node, a program and a run


class NodeInfo(msgspec.Struct, frozen=True, array_like=True):
    """A connected node as its parents know it.

    name: as its certificate says.  address: "host:port" where its children and peers dial; a slave that does not
    know its own host says ":port", and its parent adds the host that it sees.  nonce: of this run of its slave: grants
    bind to it.  plain_because: why jobs run there without a view; "" if they have one.
    since_s: when it joined, in Unix time, by its parent's clock; what the master shows is by its own.
    python_because: why its jobs are started by Python and not by the static helper; "" if they are not.
    dials: "host:port" at which it has reached its parent.  serial: of its certificate, as its parent has seen it.
    proof: of its name, for the master alone: without it, the master does not take the node in.
    version: of the gproc that it runs.
    """

    name: Name
    address: Name
    nonce: Annotated[bytes, msgspec.Meta(max_length=64)]
    plain_because: Reason
    since_s: UnixTime
    python_because: Reason = ""
    dials: Name = ""
    serial: Annotated[str, msgspec.Meta(max_length=40)] = ""
    proof: KeyProof | None = None
    version: Name = ""


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """A payload and an Ed25519 signature (64 bytes) over its context and itself: `gproc.trust.signing`."""

    payload: bytes
    signature: bytes


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """A node that may send us chunks: the name in its certificate, and "host:port"."""

    name: Name
    address: Name


# Joining


class Join(Message, frozen=True, tag=tag_of):
    """A slave asks to be taken in; `token` pairs its bulk connection with this one.

    id: the number that it wants below its parent; None: the parent chooses.  explicit_id: it takes no other.
    grant: the master's last one, if it has one.  If the slave's own parent is gone, it shows the slave's place.
    """

    token: Annotated[bytes, msgspec.Meta(max_length=64)]
    id: NodeNumber | None
    explicit_id: bool
    node: NodeInfo
    grant: Signed | None = None


class Attach(Message, frozen=True, tag=tag_of):
    """First message of a bulk connection: it belongs to the control connection that sent this token."""

    token: bytes


class Welcome(Message, frozen=True, tag=tag_of):
    """The slave is taken in, with this number; `address` is the one that the parent sees it at."""

    id: NodeNumber
    address: Name


class RefuseJoin(Message, frozen=True, tag=tag_of):
    """Why the slave is not taken in; `final`: to ask again is of no use."""

    reason: Reason
    final: bool


class Arrived(Message, frozen=True, tag=tag_of):
    """A node is there: `route` leads from the child that says so ("()": the child itself) down to it."""

    route: Route
    node: NodeInfo


class Left(Message, frozen=True, tag=tag_of):
    """The node at `route`, with all below it, cannot be reached by it any more.

    ended: the node itself has said that it ends, and that nothing runs on it.
    """

    route: Route
    reason: Reason
    ended: bool = False


class Goodbye(Message, frozen=True, tag=tag_of):
    """The sender ends, and none of its programs runs any more."""

    reason: Reason


class Granted(Message, frozen=True, tag=tag_of):
    """A signed grant on its way to the node at the end of `route`."""

    route: Route
    grant: Signed


class AskLease(Message, frozen=True, tag=tag_of):
    """The node at `route` asks the master for a lease (`gproc.trust.lease`): its answer holds this nonce."""

    route: Route
    nonce: Annotated[bytes, msgspec.Meta(max_length=64)]


class Leased(Message, frozen=True, tag=tag_of):
    """A signed lease on its way to the node at the end of `route`."""

    route: Route
    lease: Signed


class Ping(Message, frozen=True, tag=tag_of):
    """Says nothing but that its sender lives."""


class CutOff(Message, frozen=True, tag=tag_of):
    """The node above is cut off: the master's machine does not answer it.  It says so every second while that lasts."""


class Shutdown(Message, frozen=True, tag=tag_of):
    """The node above ends.  order: the master's signed word that the whole tree ends, so that this node ends too; None:
    only the node above ends, and this one looks for it until it is back."""

    reason: Reason
    order: Signed | None = None


# Jobs


class Run(Message, frozen=True, tag=tag_of):
    """A job, on its way down.  size: ranks in all.  turn: see `trust.turn`.

    window_bytes: credit for each of its streams on this connection.
    sources: who sends each stripe of the bundle, None: the parent; () if small.  gone: all nodes above know OutputGone.
    kept_bytes: what its nodes keep of each stream until the master acknowledges it."""

    job: Number
    size: Number
    ticket: Signed
    branch: Branch
    window_bytes: ByteCount
    sources: tuple[Peer | None, ...] = ()
    turn: Signed | None = None
    merge: MergeOffer | None = None
    gone: bool = False
    kept_bytes: ByteCount = frames.CLIENT_WINDOW_BYTES


class JobOrder(Message, frozen=True, tag=tag_of):
    """An order for a job, signed by the master, on its way to every node of the job: `gproc.trust.orders`."""

    job: Number
    order: Signed


class SignalJob(Message, frozen=True, tag=tag_of):
    """A client's signal for every process of its job."""

    job: Number
    signum: int

    def __post_init__(self) -> None:
        if not can_be_sent(self.signum):
            raise ValueError(f"signal {self.signum} is none that a job can be sent")


class Resize(Message, frozen=True, tag=tag_of):
    """The caller's terminal has another size now; the program's terminal gets the same."""

    job: Number
    size: TerminalSize


class Finished(Message, frozen=True, tag=tag_of):
    """The program of one rank has ended, and all of its output was sent before this: what the master tells a client.

    said: for the master alone, bytes of each of its output streams.  leaves_files: as of `gproc.trust.outcomes`.
    """

    job: Number
    rank: Rank
    outcome: Outcome
    said: StreamBytes = (0, 0)
    leaves_files: bool = False


class StageProgress(Message, frozen=True, tag=tag_of):
    """How much of a large bundle a rank's node has; `complete`: all of it, checked."""

    job: Number
    rank: Rank
    received_bytes: ByteCount
    complete: bool


class StripeProgress(Message, frozen=True, tag=tag_of):
    """How many bytes of each stripe of a bundle a node lacks, if peers send it: for their common parent."""

    job: Number
    stripes: tuple[ByteCount, ...]


class SetSources(Message, frozen=True, tag=tag_of):
    """These send us the bundle from now on, as in `Run.sources`: a former one is slow, or is gone."""

    job: Number
    sources: tuple[Peer | None, ...]


class Credit(Message, frozen=True, tag=tag_of):
    """The reader of a stream of this job has room for so many bytes more."""

    job: Number
    stream: Annotated[int, msgspec.Meta(ge=0, le=frames.FILES)]
    bytes: ByteCount


# Bundles


class Want(Message, frozen=True, tag=tag_of):
    """Send these chunks of that bundle; the digest of the bundle itself stands for its manifest."""

    bundle: bytes
    digests: tuple[bytes, ...]


class Unavailable(Message, frozen=True, tag=tag_of):
    """These chunks cannot be had from the sender of this message."""

    bundle: bytes
    digests: tuple[bytes, ...]
    reason: Reason


class PeerHello(Message, frozen=True, tag=tag_of):
    """First message of a peer's connection: both were given the job with this ticket, so one may serve the other."""

    ticket: Signed


class PeerReady(Message, frozen=True, tag=tag_of):
    """Answers PeerHello: ask for what you want."""


# Client and master


class Submit(Message, frozen=True, tag=tag_of):
    """Run a job; the kernel tells the master which user asks.  serial: chosen by the client, and comes back."""

    serial: Number
    request: Request


class Accepted(Message, frozen=True, tag=tag_of):
    """The job runs; places[rank] is the node of that rank.  missing: nodes named but not connected, folded.
    absent: nodes that "." would have meant if they were connected: folded, since when, in Unix time, and why not.
    drained: of those that take no new jobs: folded, and as of `NodeDrained`."""

    serial: Number
    job: Number
    places: tuple[tuple[NodeNumber, ...], ...]
    missing: str
    window_bytes: ByteCount
    absent: tuple[tuple[str, UnixTime, str], ...] = ()
    drained: tuple[tuple[str, NodeDrained], ...] = ()


class Rejected(Message, frozen=True, tag=tag_of):
    """The job does not run.  status: what the command ends with (docs/reference.md)."""

    serial: Number
    status: Number
    reason: str


class OutOfReach(Message, frozen=True, tag=tag_of):
    """No way leads to these nodes of a job, folded.  Their programs run until `until_s` at most; 0: one does again."""

    job: Number
    nodes: str
    reason: Reason
    until_s: UnixTime


class Inquire(Message, frozen=True, tag=tag_of):
    """Asks for the tree."""

    serial: Number


MemorySize = tuple[ByteCount, ByteCount]


class NodeState(msgspec.Struct, frozen=True, array_like=True):
    """A row of `gproc i`.  load: one-minute average; None: the node did not answer in time.

    memory: in all, and available for programs, in bytes, as /proc/meminfo has them; None: it did not say.
    """

    place: tuple[NodeNumber, ...]
    node: NodeInfo
    jobs: int
    load: Load1 | None
    memory: MemorySize | None = None
    drained: NodeDrained | None = None


class AbsentNode(msgspec.Struct, frozen=True, array_like=True):
    """A row of `gproc i` of a node that was there.  may_run: its programs may still run, as its lease has not ended."""

    place: tuple[NodeNumber, ...]
    node: NodeInfo
    since_s: UnixTime
    reason: str
    may_run: bool


class TreeState(Message, frozen=True, tag=tag_of):
    """Answers Inquire.  since_s: when the master began, in Unix time."""

    serial: Number
    master: str
    since_s: UnixTime
    nodes: tuple[NodeState, ...]
    absent: tuple[AbsentNode, ...] = ()
    counts: MasterCounts | None = None


_encoder = msgspec.msgpack.Encoder()


def frame(message: Message) -> bytes:
    """The message as one whole frame.  Raises: UsageError if a text in it is not UTF-8, as PEP 383 has it."""
    try:
        payload = _encoder.encode(message)
        return frames.header(frames.KIND_CONTROL, len(payload)) + payload
    except UnicodeEncodeError as error:
        raise UsageError(f"{shown_text(error.object)} is not UTF-8, and can be no name or text here") from None
