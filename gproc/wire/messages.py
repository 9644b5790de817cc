"""Every control message, as a type: the closed set of what two processes of gproc can say to each other.

Encoded as msgpack arrays with the tag first.  Text that the kernel gave us (arguments, environment, paths) is
bytes; what gproc itself made up is str.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Union

import msgspec

from gproc.errors import PeerError
from gproc.request.limits import Limits
from gproc.request.signals import can_be_sent
from gproc.wire import frames

STATUS_MAX: Final = 255
"""wait(2): eight bits of an exit status reach the parent."""

SIGNAL_MAX: Final = 64
"""SIGRTMAX on Linux: signal(7)."""

TIMEOUT_MAX_S: Final = 10**9
"""Thirty years; above all it keeps infinity and NaN away from the event loop's timers."""

NUMBER_MAX: Final = 2**63 - 1
"""What every msgpack reader can hold."""

Action = Literal["run", "place", "collect"]
"""What a job does on a node: run its program, put its bundle into place, send what lies there home."""

WINDOW_MAX: Final = 0xFFFF
"""struct winsize has 16 bits for each."""

Status = Annotated[int, msgspec.Meta(ge=0, le=STATUS_MAX)]
NodeNumber = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Route = tuple[NodeNumber, ...]
Rank = Annotated[int, msgspec.Meta(ge=0, lt=frames.EVERY_RANK)]
Size = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One control message."""


# What is said of a node, a program and a run


class NodeInfo(msgspec.Struct, frozen=True, array_like=True):
    """A connected node as its parents know it.

    name: as its certificate says.  address: "host:port" where its children dial.  nonce: of this run of its
    slave, what grants bind to.  plain_because: why jobs run there without a view; "" where they have one.
    since_s: when it joined, Unix time by its parent's clock.
    """

    name: str
    address: str
    nonce: bytes
    plain_because: str
    since_s: float


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """How a program ended on one node.

    status: as a shell gives it (DESIGN section 10).  signal: the one that ended it, 0 where none did.
    failure: what went wrong, where it is gproc that failed; "" where the program itself returned.
    """

    status: Status
    signal: Annotated[int, msgspec.Meta(ge=0, le=SIGNAL_MAX)] = 0
    core_dumped: bool = False
    failure: str = ""
    lost: bool = False


class Branch(msgspec.Struct, frozen=True, array_like=True):
    """The part of a job that is meant for one node and those below it.

    rank: of the node itself; -1 where it only relays.
    """

    rank: Annotated[int, msgspec.Meta(ge=-1, lt=frames.EVERY_RANK)]
    children: dict[NodeNumber, Branch]

    def ranks(self) -> list[int]:
        found = [self.rank] if self.rank >= 0 else []
        for child in self.children.values():
            found += child.ranks()
        return found


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """A payload and the master's Ed25519 signature (64 bytes) over its context and itself: `gproc.trust.ticket`."""

    payload: bytes
    signature: bytes


class TerminalSize(msgspec.Struct, frozen=True, array_like=True):
    """Size of a terminal in characters, as tty_ioctl(4) has it; 0: unknown."""

    rows: Annotated[int, msgspec.Meta(ge=0, le=WINDOW_MAX)]
    columns: Annotated[int, msgspec.Meta(ge=0, le=WINDOW_MAX)]


# Joining


class Join(Message, frozen=True, tag=1):
    """A slave asks to be taken in; `token` pairs its bulk connection with this one."""

    token: bytes
    id: NodeNumber | None
    explicit_id: bool
    node: NodeInfo


class Attach(Message, frozen=True, tag=2):
    """First message of a bulk connection."""

    token: bytes


class Welcome(Message, frozen=True, tag=3):
    id: NodeNumber
    address: str
    """The address that the parent sees the slave at."""


class RefuseJoin(Message, frozen=True, tag=4):
    """Why not; `final` where asking again is of no use."""

    reason: str
    final: bool


class Arrived(Message, frozen=True, tag=5):
    """A node is there: `route` leads from the child that says so ("()": itself) down to it."""

    route: Route
    node: NodeInfo


class Left(Message, frozen=True, tag=6):
    route: Route
    reason: str


class Granted(Message, frozen=True, tag=7):
    """A signed grant on its way to the node at the end of `route`."""

    route: Route
    grant: Signed


class Ping(Message, frozen=True, tag=8):
    """Says nothing but that its sender lives."""


class Shutdown(Message, frozen=True, tag=9):
    """The tree below ends, for good."""

    reason: str


# Jobs


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """A sibling that may feed us: the name in its certificate, and "host:port"."""

    name: str
    address: str


class Run(Message, frozen=True, tag=20):
    """A job, on its way down.

    size: ranks in all.  window_bytes: credit for each of its output streams on this connection, and for stdin.
    feeders: who has each stripe of the bundle for us (`gproc.spread.trees`), None: the parent; () for a small one.
    """

    job: int
    size: int
    ticket: Signed
    branch: Branch
    window_bytes: Size
    stdin: bool
    sources: tuple[Peer | None, ...] = ()


class SignalJob(Message, frozen=True, tag=21):
    """For every process of the job, wherever it runs below."""

    job: int
    signum: int

    def __post_init__(self) -> None:
        if not can_be_sent(self.signum):
            raise ValueError(f"signal {self.signum} is none that a job can be sent")


class Finished(Message, frozen=True, tag=22):
    job: int
    rank: Rank
    outcome: Outcome


class Resize(Message, frozen=True, tag=26):
    """The caller's terminal has another size now, and so shall the program's."""

    job: int
    terminal_size: TerminalSize


class StageProgress(Message, frozen=True, tag=25):
    """How much of a large bundle a rank's node has; `complete`: all of it, checked."""

    job: int
    rank: Rank
    received_bytes: Size
    complete: bool


class StripeProgress(Message, frozen=True, tag=27):
    """How many bytes of each stripe of a bundle a node lacks, where siblings feed each other: for their parent."""

    job: int
    stripes: tuple[Size, ...]


class SetSources(Message, frozen=True, tag=28):
    """From now on these have the bundle for us, as `Run.sources` says: one of the former was slow, or is gone."""

    job: int
    sources: tuple[Peer | None, ...]


class Credit(Message, frozen=True, tag=23):
    """The reader of a stream of this job has room for so many bytes more."""

    job: int
    stream: int
    bytes: Size


class Release(Message, frozen=True, tag=24):
    """The job is over everywhere: whoever kept anything for it lets go."""

    job: int


# Bundles


class Want(Message, frozen=True, tag=30):
    """Send these chunks of that bundle; the digest of the bundle itself stands for its manifest."""

    bundle: bytes
    digests: tuple[bytes, ...]


class PeerHello(Message, frozen=True, tag=32):
    """First message of a sibling's connection: the job that both were given is why one feeds the other."""

    ticket: Signed


class PeerReady(Message, frozen=True, tag=33):
    """Answers Feed: ask for what you want."""


class Unavailable(Message, frozen=True, tag=31):
    """These chunks cannot be had."""

    bundle: bytes
    digests: tuple[bytes, ...]
    reason: str


# Client and master


class Submit(Message, frozen=True, tag=40):
    """Run a program; the master adds who asks, from the socket.

    bundle: digest of its manifest, b"" where each node runs its own copy.  bundle_bytes: size of its files.
    action: where it is not "run", argv is gproc's name for it and a path of the node's.
    window: of the caller's terminal, where the program is to have one like it; None: it has pipes.
    timeout_s: None for ever.  argv has at least the program's name; cwd is absolute.
    """

    nodes: str
    exclude: str
    argv: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1)]
    env: tuple[bytes, ...]
    cwd: bytes
    umask: Annotated[int, msgspec.Meta(ge=0, le=0o777)]
    bundle: bytes
    stdin: bool
    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=TIMEOUT_MAX_S)] | None
    limits: Limits
    bundle_bytes: int = 0
    terminal_size: TerminalSize | None = None
    action: Action = "run"

    def __post_init__(self) -> None:
        parts = self.cwd.split(b"/")[1:] if self.cwd != b"/" else [self.cwd]
        if not self.cwd.startswith(b"/") or {b"", b".", b".."}.intersection(parts):
            raise ValueError(f"the working directory {self.cwd!r} is no absolute path without '.' and '..'")
        if any(b"\0" in word for word in (*self.argv, *self.env, self.cwd)):
            raise ValueError("a zero byte in an argument, a variable or the working directory: execve(2) takes none")


class Accepted(Message, frozen=True, tag=41):
    """The job runs; paths[rank] is the node of that rank.  missing: nodes named but not connected, folded."""

    job: int
    paths: tuple[tuple[int, ...], ...]
    missing: str
    window_bytes: int


class Rejected(Message, frozen=True, tag=42):
    status: int
    reason: str


class Inquire(Message, frozen=True, tag=43):
    """Asks for the tree."""


class NodeState(msgspec.Struct, frozen=True, array_like=True):
    """A row of `gproc i`.  load: one-minute average, None where the node did not answer in time."""

    path: tuple[int, ...]
    node: NodeInfo
    jobs: int
    load: float | None


class TreeState(Message, frozen=True, tag=44):
    master: str
    since_s: float
    nodes: tuple[NodeState, ...]


class Poll(Message, frozen=True, tag=45):
    """Asks every node below for its load."""

    serial: int


class Load(Message, frozen=True, tag=46):
    """Answers a poll: loads by route."""

    serial: int
    loads: tuple[tuple[Route, float], ...]


AnyMessage = Union[  # noqa: UP007 - msgspec wants it so on 3.11
    Join, Attach, Welcome, RefuseJoin, Arrived, Left, Granted, Ping, Shutdown,
    Run, SignalJob, Finished, Resize, StageProgress, StripeProgress, SetSources, Credit, Release,
    Want, Unavailable, PeerHello, PeerReady,
    Submit, Accepted, Rejected, Inquire, TreeState, Poll, Load,
]  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def frame(message: Message) -> bytes:
    """The message as one whole frame."""
    payload = _encoder.encode(message)
    return frames.header(frames.KIND_CONTROL, len(payload)) + payload


def decode(payload: memoryview) -> AnyMessage:
    """Raises: PeerError for what is no message."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The last two are msgspec's for text that is not UTF-8, and for a branch of a thousand levels.
        raise PeerError(f"not a message: {error}") from error
