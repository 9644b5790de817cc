"""What a client and the master say to each other about jobs that the client did not start just now.  Pure.

A master of an older release knows none of these, and ends the connection of a client that sends one.
"""

from __future__ import annotations

from typing import Annotated, Final, Union

import msgspec

from gproc.request.signals import can_be_sent
from gproc.request.spec import Action, Request
from gproc.wire import frames
from gproc.wire.branch import ByteCount, NodeNumber, Number, UnixTime
from gproc.wire.messages import NAME_CHARACTERS_MAX, Message, Rank
from gproc.wire.stacks import JobStacks
from gproc.wire.tags import tag_of

LISTED_MAX: Final = 10_000
"""Jobs in one answer: some 2 MB."""

SHOWN_HOSTS_MAX: Final = 4000
"""Characters of the hosts that `gproc ps` shows."""

JobText = Annotated[str, msgspec.Meta(max_length=64)]
"""A job's number, its name, or "last"."""


GROUPS_MAX: Final = 256
"""Groups that one question names: each answer may be as long as the names of a rack."""

NAMES_MAX: Final = 20_000
"""Hosts in one question."""

DRAIN_REASON_MAX: Final = 200

HostName = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]


class ListJobs(Message, frozen=True, tag=tag_of):
    """Asks for the user's jobs; root, and the user who runs the master, get those of all.  ended: ended ones too."""

    serial: Number
    ended: bool


class JobTransfer(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of a running job that are on their way.

    kind: "program": programs and files that are sent before the job begins; "cp"; "get".  nodes: how many have a part
    in it.  complete: how many of them have all, or have sent all.  bytes: on all nodes together.  total_bytes: of all
    of them; 0: not known, as for "get".
    """

    kind: str
    nodes: Number
    complete: Number
    bytes: ByteCount
    total_bytes: ByteCount = 0


class JobRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `gproc ps`.

    nodes: folded.  state: "running", "ending", "ended" or "lost" (with its master).  status: the highest exit status;
    None while it runs.  started_s, ended_s: Unix time; 0: it runs.  argv: cut to a bound.
    transfer: what is on its way for it; None: nothing large.
    """

    number: Number
    name: str
    uid: Number
    nodes: str
    state: str
    status: int | None
    started_s: UnixTime
    ended_s: UnixTime
    argv: tuple[bytes, ...]
    transfer: JobTransfer | None = None


class JobList(Message, frozen=True, tag=tag_of):
    """Answers ListJobs: the newest, the oldest of them first.  left_out: how many older ones there are."""

    serial: Number
    jobs: tuple[JobRow, ...]
    left_out: Number = 0


class Keep(msgspec.Struct, frozen=True, array_like=True):
    """How a job stands to its client.

    name: "" for none.  detach: it begins without one: its client leaves when it may (`Detached`).
    survive: it goes on if its client dies.  spool: its output is kept; of the two above it is in any case.
    hosts: the nodes as its user named them, folded, for people; "" if by their places.
    """

    name: JobText = ""
    detach: bool = False
    survive: bool = False
    spool: bool = False
    hosts: Annotated[str, msgspec.Meta(max_length=SHOWN_HOSTS_MAX)] = ""


class SubmitKept(Message, frozen=True, tag=tag_of):
    """As Submit, for a job that may outlive its client or has a name."""

    serial: Number
    request: Request
    keep: Keep


class Detach(Message, frozen=True, tag=tag_of):
    """The client wants to leave this job, or stops to look at it: the number is that of a job or of a view."""

    job: Number


class Detached(Message, frozen=True, tag=tag_of):
    """The client may go: the job has all that it needs, and nothing more of it comes.  reason: why it is ended
    instead; "" if it is not.  For a view: what it was to show was shown, or why it shows no more."""

    job: Number
    reason: str = ""


class NotKept(Message, frozen=True, tag=tag_of):
    """Something that should be kept of a job is not kept; the job goes on.  reason: what it is, and why.

    It is told before the job's last Finished at the latest."""

    job: Number
    reason: str


class Dismissed(Message, frozen=True, tag=tag_of):
    """The last message of a connection that the master ends.  reason: what the client sent that it takes no more."""

    reason: str


class ViewJob(Message, frozen=True, tag=tag_of):
    """Asks to see a job.

    nodes: a node specification; "" for all.  output: what its programs write too, and not only how they end.
    start: from its first byte; else from now on.  follow: until it ends; else what there is now.
    moments: whether each piece of output comes with its time.
    control: whether input and the size of a terminal may come from here.
    tasks: whether to say which task each piece of output is of, and how tasks end, if the master hands them out.
    """

    serial: Number
    job: JobText
    nodes: str = ""
    output: bool = True
    start: bool = True
    follow: bool = False
    moments: bool = False
    control: bool = False
    tasks: bool = False


class Viewing(Message, frozen=True, tag=tag_of):
    """Answers ViewJob.

    view: stands for the job in what follows, in Finished, STDIO frames, Credit and so on.  Ranks are positions in
    `places`.  state: as of JobRow.  window_bytes: credit of each output stream.  stdin_bytes: credit for input.
    controls: whether input and the terminal's size are taken from here; another client may have them.
    tasks: whether it runs tasks of a list that the master hands out.
    """

    serial: Number
    view: Number
    job: Number
    name: str
    places: tuple[tuple[NodeNumber, ...], ...]
    missing: str
    state: str
    argv: tuple[bytes, ...]
    window_bytes: ByteCount
    stdin: bool = False
    terminal: bool = False
    stdin_bytes: ByteCount = 0
    controls: bool = False
    tasks: bool = False


class Moment(Message, frozen=True, tag=tag_of):
    """When the output was written that comes next, in Unix time."""

    view: Number
    time_s: UnixTime


class Dropped(Message, frozen=True, tag=tag_of):
    """This many bytes of output were not kept at this place of the stream.  stream 0: of all that is not here."""

    view: Number
    rank: Rank
    stream: Annotated[int, msgspec.Meta(ge=0, le=frames.STDERR)]
    bytes: ByteCount


class KillJob(Message, frozen=True, tag=tag_of):
    """Sends a signal to every process of a job.  nodes: a node specification; "" for all."""

    serial: Number
    job: JobText
    signum: int
    nodes: str = ""

    def __post_init__(self) -> None:
        if not can_be_sent(self.signum):
            raise ValueError(f"signal {self.signum} is none that a job can be sent")


class RemoveJobs(Message, frozen=True, tag=tag_of):
    """Removes the records of ended jobs, and their output."""

    serial: Number
    jobs: Annotated[tuple[JobText, ...], msgspec.Meta(max_length=LISTED_MAX)]


class ActedOn(Message, frozen=True, tag=tag_of):
    """Answers KillJob and RemoveJobs.

    problems: a sentence for each job, or for nodes, that could not be acted on.  status: what the command ends with
    then.
    """

    serial: Number
    problems: tuple[str, ...] = ()
    status: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


class AskFailed(Message, frozen=True, tag=tag_of):
    """Asks where a job has failed."""

    serial: Number
    job: JobText


class FailedNodes(Message, frozen=True, tag=tag_of):
    """Answers AskFailed.

    nodes: those whose outcome is not exit status 0, folded.  missing: as of Accepted.  argv: cut to a bound if it is
    not `whole`.  runs: whether the job has not ended.  action: "run" also if it is not known.
    """

    serial: Number
    job: Number
    nodes: str
    missing: str
    argv: tuple[bytes, ...]
    whole: bool
    runs: bool
    action: Action = "run"


class FindNodes(Message, frozen=True, tag=tag_of):
    """Asks where hosts are in the tree, and what groups mean that the client does not know."""

    serial: Number
    hosts: Annotated[tuple[HostName, ...], msgspec.Meta(max_length=NAMES_MAX)] = ()
    groups: Annotated[tuple[HostName, ...], msgspec.Meta(max_length=GROUPS_MAX)] = ()


class FoundNodes(Message, frozen=True, tag=tag_of):
    """Answers FindNodes.

    places: of each host, in order: several if slaves of one machine share its name, none if the host is unknown.  gone:
    which of the hosts are not connected, by their position.  groups: of each group NODES without groups in them; "" if
    the group is unknown.
    """

    serial: Number
    places: tuple[tuple[tuple[NodeNumber, ...], ...], ...]
    gone: tuple[Number, ...]
    groups: tuple[str, ...]


class AskFaults(Message, frozen=True, tag=tag_of):
    """Asks for the last faults of the tree."""

    serial: Number


class FaultRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `gproc i --events`.  done: what was done about it, at done_s; 0: it goes on.  Times are Unix times.

    below: how many nodes below this place it is about too.
    """

    place: tuple[NodeNumber, ...]
    host: str
    what: str
    since_s: UnixTime
    done: str
    done_s: UnixTime
    below: Number = 0


class FaultList(Message, frozen=True, tag=tag_of):
    """Answers AskFaults: the oldest first."""

    serial: Number
    faults: tuple[FaultRow, ...]


class DrainNodes(Message, frozen=True, tag=tag_of):
    """Wants connected nodes to take no new jobs, or to take them again.  nodes: a node specification."""

    serial: Number
    nodes: str
    resume: bool
    reason: Annotated[str, msgspec.Meta(max_length=DRAIN_REASON_MAX)] = ""


class NodesDrained(Message, frozen=True, tag=tag_of):
    """Answers DrainNodes: those nodes, those of them on which jobs run, and those named but not connected, folded.

    With serial 0 it comes unasked, to clients that hand out tasks: these nodes get no new ones.
    """

    serial: Number
    nodes: str
    busy: str
    missing: str = ""


JobAnswer = Union[JobList, ActedOn, FailedNodes, FoundNodes, FaultList, NodesDrained, JobStacks]  # noqa: UP007
"""The master's answers to questions about jobs and about nodes by name."""
