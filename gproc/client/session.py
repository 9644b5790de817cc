"""The client's side of one connection to the master, without I/O: bytes in, events out; calls in, bytes out.  Pure.

`gproc.client.driver` moves the bytes by poll(2), `gproc.client.aio` on an asyncio event loop.  Any number of jobs
share a session.  Output that a caller does not take is not acknowledged: a job's programs wait for a caller that reads
slowly, and at most one window of output (`frames.CLIENT_WINDOW_BYTES` for each stream) waits here.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple, Union, assert_never

import msgspec

from gproc.client.asking import SessionQuestions, job_text
from gproc.client.events import (
    Departed,
    Drained,
    Event,
    Exited,
    Output,
    Skipped,
    Staged,
    Started,
    Stream,
    TaskExited,
    Unkept,
    Unreached,
)
from gproc.client.session_job import NUMBERS, STREAMS, SessionJob
from gproc.errors import JobRejected, LinkLost, PeerError
from gproc.naming.naming import ALL_NODES, PLACES, MeantNodes, Naming, retold
from gproc.nodespec import NodeSpec, Place
from gproc.request.spec import Request, TerminalSize
from gproc.shown import shown_text
from gproc.tasks.task import Task
from gproc.wire import frames, messages
from gproc.wire.credit import quantum
from gproc.wire.directions import MASTER_TO_CLIENT, MasterToClient
from gproc.wire.job_messages import (
    ActedOn,
    Detach,
    Detached,
    Dismissed,
    Dropped,
    FailedNodes,
    FaultList,
    FoundNodes,
    JobAnswer,
    JobList,
    Keep,
    Moment,
    NodesDrained,
    NotKept,
    SubmitKept,
    Viewing,
    ViewJob,
)
from gproc.wire.messages import (
    Accepted,
    Credit,
    Finished,
    Message,
    Rejected,
    Resize,
    SignalJob,
    StageProgress,
    Submit,
    TreeState,
    Unavailable,
    Want,
    frame,
)
from gproc.wire.stacks import JobStacks
from gproc.wire.task_messages import SubmitTasks, TaskFinished, TaskListing, TasksConcluded, TaskSpeaks

STDIN_BYTES: Final = quantum(frames.CLIENT_WINDOW_BYTES)
"""The most that one call of `write_stdin` takes."""


class JobEvent(NamedTuple):
    """Something happened to a job.  The data of an `Output` is a view that is valid until more bytes are received."""

    job: SessionJob
    event: Event


class JobRefused(NamedTuple):
    """The master did not take a job: `job.rejected`."""

    job: SessionJob


class StdinReady(NamedTuple):
    """The programs of a job have room for more standard input."""

    job: SessionJob


class ChunksWanted(NamedTuple):
    """The master lacks these chunks of a bundle: answer each by `send_chunk` or `refuse_chunk`."""

    bundle: bytes
    digests: tuple[bytes, ...]


class TreeAnswer(NamedTuple):
    """The answer to `inquire`."""

    state: TreeState


class Answered(NamedTuple):
    """The answer to a question about jobs."""

    serial: int
    answer: JobAnswer


class Refusal(NamedTuple):
    """The master does not answer a question."""

    serial: int
    error: JobRejected


SessionEvent = Union[JobEvent, JobRefused, StdinReady, ChunksWanted, TreeAnswer, Answered, Refusal]  # noqa: UP007


class ClientSession(SessionQuestions):
    """`space` and `received` take the bytes from the master; `outbox` has the bytes for it."""

    def __init__(self) -> None:
        self.outbox: deque[memoryview] = deque([memoryview(frames.preface(frames.CHANNEL_CLIENT))])
        """The bytes to send, in order.  A driver takes pieces from the left, or shortens the first one."""
        self._reader = frames.FrameReader()
        self.greeted = False
        """Whether the master has answered our preface, as it does at once."""
        self._serials = itertools.count(1)
        self._submitted: dict[int, SessionJob] = {}
        """The requests that the master has not answered, also for views, by serial number."""
        self._jobs: dict[int, SessionJob] = {}

    # From the master

    def space(self) -> memoryview:
        """The buffer for the next received bytes.  It is never empty."""
        return self._reader.space()

    def received(self, count: int) -> Iterator[SessionEvent]:
        """The events in `count` more bytes of `space`.  Raises: PeerError if no master would send them."""
        if not self.greeted:
            have = self._reader.raw(count)
            if len(have) < frames.PREFACE_BYTES:
                return
            frames.read_preface(have[: frames.PREFACE_BYTES])
            self._reader.skip(frames.PREFACE_BYTES)
            self.greeted, count = True, 0
        for kind, payload in self._reader.frames(count):
            if kind == frames.KIND_STDIO:
                event = self._output(payload)
                if event is not None:
                    yield event
            elif kind == frames.KIND_CONTROL:
                yield from self._message(MASTER_TO_CLIENT.decode(payload))
            else:
                raise PeerError("the master sent a chunk, which nobody asked for")

    def _message(self, message: MasterToClient) -> Iterator[SessionEvent]:
        match message:
            case Accepted():
                yield from self._accepted(message)
            case Rejected(serial, status, reason):
                if (job := self._submitted.pop(serial, None)) is not None:
                    job.rejected = JobRejected(retold(reason, job.naming), status)
                    yield JobRefused(job)
                else:
                    yield Refusal(serial, JobRejected(reason, status))
            case Finished(number, rank, outcome, leaves_files=leaves_files):
                if (job := self._jobs.get(number)) is not None:
                    job.outcomes[self._known(job, rank)] = outcome
                    if leaves_files:
                        job.leaves_files.add(rank)
                    if job.ended:
                        self._jobs.pop(number, None)
                    yield JobEvent(job, Exited(job.nodes[rank], outcome, rank))
            case StageProgress(number, rank, received_bytes, complete):
                if (job := self._jobs.get(number)) is not None:
                    rank = self._known(job, rank)
                    yield JobEvent(job, Staged(job.nodes[rank], received_bytes, complete, rank))
            case Credit(number, _, size):
                if (job := self._jobs.get(number)) is not None:
                    job.stdin_credit += size
                    yield StdinReady(job)
            case Want(bundle, digests):
                yield ChunksWanted(bundle, digests)
            case messages.OutOfReach(number, nodes, reason, until_s):
                if (job := self._jobs.get(number)) is not None:
                    yield JobEvent(job, Unreached(job.naming.refold(nodes), reason, until_s))
            case TreeState():
                yield TreeAnswer(message)
            case JobList(serial) | ActedOn(serial) | FailedNodes(serial) | FoundNodes(serial) | FaultList(serial):
                yield Answered(serial, message)
            case NodesDrained(0, nodes):
                for job in self._jobs.values():
                    if job.request.action == "map":
                        yield JobEvent(job, Drained(_ranks_at(job, nodes)))
            case NodesDrained(serial) | JobStacks(serial):
                yield Answered(serial, message)
            case Viewing():
                yield from self._viewing(message)
            case Moment(number, time_s):
                if (job := self._jobs.get(number)) is not None:
                    job.moment_s = time_s
            case TaskSpeaks(number, rank):
                if (job := self._jobs.get(number)) is not None:
                    job.speaking[self._known(job, rank)] = Task(message.number, message.line, message.values)
            case TaskFinished(number, rank):
                if (job := self._jobs.get(number)) is not None:
                    yield JobEvent(job, _task_exited(job.nodes[self._known(job, rank)], message))
            case TasksConcluded(number, status, lines):
                if (job := self._jobs.get(number)) is not None:
                    job.concluded = (status, tuple(map(shown_text, lines)))
            case Dropped(number, rank, stream, size):
                if (job := self._jobs.get(number)) is not None and rank < len(job.nodes):
                    yield JobEvent(job, Skipped(job.nodes[rank], STREAMS.get(stream, ""), size, rank))
            case NotKept(number, reason):
                if (job := self._jobs.get(number)) is not None:
                    yield JobEvent(job, Unkept(shown_text(reason)))
            case Detached(number, reason):
                if (job := self._jobs.pop(number, None)) is not None:
                    job.left = True
                    yield JobEvent(job, Departed(reason))
            case Dismissed(reason):
                raise LinkLost(f"the master has ended this connection: {shown_text(reason)}")
            case _:
                assert_never(message)

    def _accepted(self, message: Accepted) -> Iterator[SessionEvent]:
        job = self._submitted.pop(message.serial, None)
        if job is None:
            raise PeerError("the master accepted a job that nobody submitted")
        job.number = job.wire_number = message.job
        job.places = tuple(Place(place) for place in message.places)
        job.nodes = tuple(map(job.naming.name, job.places))
        job.missing = job.naming.missing(message.missing)
        job.absent = tuple((job.naming.refold(nodes), since_s, why) for nodes, since_s, why in message.absent)
        job.drained = tuple((job.naming.refold(nodes), why) for nodes, why in message.drained)
        job.window_bytes = message.window_bytes
        job.stdin_credit = message.window_bytes if job.request.stdin else 0
        self._jobs[message.job] = job
        for signum in job.early_signals:
            self._send(SignalJob(message.job, signum))
        yield JobEvent(job, Started(job.nodes, job.missing))
        if job.request.stdin:
            yield StdinReady(job)

    def _viewing(self, message: Viewing) -> Iterator[SessionEvent]:
        job = self._submitted.pop(message.serial, None)
        if job is None:
            raise PeerError("the master shows a job that nobody asked for")
        job.number, job.wire_number, job.viewed = message.job, message.view, message
        job.places = tuple(Place(place) for place in message.places)
        job.nodes = tuple(map(job.naming.name, job.places))
        job.missing = job.naming.refold(message.missing)
        job.window_bytes, job.stdin_credit = message.window_bytes, message.stdin_bytes
        try:
            job.request = msgspec.structs.replace(
                job.request, argv=message.argv, stdin=message.stdin and message.controls,
                terminal=TerminalSize(0, 0) if message.terminal and message.controls else None,
            )  # fmt: skip
        except ValueError as error:
            raise PeerError(f"the master shows a job that cannot be: {error}") from error
        self._jobs[message.view] = job
        yield JobEvent(job, Started(job.nodes, job.missing))
        if job.stdin_credit:
            yield StdinReady(job)

    def _output(self, payload: memoryview) -> SessionEvent | None:
        number, rank, stream, _, data = frames.read_stdio(payload)
        job = self._jobs.get(number)
        if job is None:
            return None
        if stream not in STREAMS:
            raise PeerError("the master sent standard input")
        rank = self._known(job, rank)
        task = job.speaking.get(rank)
        return JobEvent(job, Output(job.nodes[rank], STREAMS[stream], data, rank, job.moment_s, task))  # type: ignore[arg-type]

    def _known(self, job: SessionJob, rank: int) -> int:
        if rank >= len(job.places) or rank in job.outcomes:
            raise PeerError(f"the master sent a message about rank {rank} of job {job.number}, which does not run")
        return rank

    # To the master

    def submit(
        self, request: Request, keep: Keep | None = None, naming: Naming = PLACES, listing: TaskListing | None = None
    ) -> SessionJob:
        """naming: how its nodes are called.  listing: if the master is to hand out its tasks: its input is the list."""
        job = SessionJob(next(self._serials), request, naming)
        self._submitted[job.serial] = job
        if listing is not None:
            self._send(SubmitTasks(job.serial, request, keep or Keep(), listing))
        else:
            self._send(Submit(job.serial, request) if keep is None else SubmitKept(job.serial, request, keep))
        return job

    def view(
        self, name: str, meant: MeantNodes = ALL_NODES, *, output: bool = True, start: bool = True,
        follow: bool = False, moments: bool = False, control: bool = False, tasks: bool = True,
    ) -> SessionJob:  # fmt: skip
        """Look at a job that the master knows: `wire.job_messages.ViewJob` says how.  JobRefused if it cannot be.

        Raises: UsageError as `job_text`.
        """
        name = job_text(name)
        job = SessionJob(next(self._serials), Request(nodes=meant.nodes, argv=(b"",)), meant.naming)
        self._submitted[job.serial] = job
        self._send(ViewJob(job.serial, name, meant.nodes, output, start, follow, moments, control, tasks))
        return job

    def leave(self, job: SessionJob) -> None:
        """Leave a job that goes on, or look at it no more.  `Departed` says when that is done."""
        if job.number is not None and not job.ended:
            self._send(Detach(job.wire_number))

    def signal(self, job: SessionJob, signum: int) -> None:
        """Send a signal to every process of a job, as soon as the master has taken it.

        Raises: ValueError for a signal that a job cannot be sent (`gproc.request.signals`).
        """
        message = SignalJob(job.wire_number, signum)
        if job.number is None:
            job.early_signals[signum] = None
        elif not job.ended:
            self._send(message)

    def resize(self, job: SessionJob, size: TerminalSize) -> None:
        if job.number is not None and not job.ended:
            self._send(Resize(job.wire_number, size))

    def write_stdin(self, job: SessionJob, data: bytes | memoryview, *, lent: bool = False) -> int:
        """Send as much as the credit allows, at most STDIN_BYTES.  Returns the number of bytes.

        lent: it stays as it is until the outbox is empty, so that it is not copied.
        """
        if job.number is None or job.ended:
            return len(data) if job.ended else 0
        data = data[: min(job.stdin_credit, STDIN_BYTES)]
        if len(data):
            job.stdin_credit -= len(data)
            head = frames.stdio_head(job.wire_number, frames.EVERY_RANK, frames.STDIN, job.stdin_bytes, len(data))
            self._write(head, data if lent else bytes(data))
            job.stdin_bytes += len(data)
        return len(data)

    def end_stdin(self, job: SessionJob) -> None:
        """End the standard input.  Call it once, after the master has taken the job."""
        if job.number is not None and not job.ended:
            self._write(frames.stdio_head(job.wire_number, frames.EVERY_RANK, frames.STDIN, job.stdin_bytes, 0))

    def consumed(self, job: SessionJob, stream: Stream, size: int) -> None:
        """The caller has taken this many bytes of output: the programs may write as many more."""
        job.owed[stream] += size
        if job.owed[stream] >= quantum(job.window_bytes) and job.number is not None and not job.ended:
            self._send(Credit(job.wire_number, NUMBERS[stream], job.owed[stream]))
            job.owed[stream] = 0

    def send_chunk(self, digest: bytes, data: bytes) -> None:
        for piece in frames.pieces(digest, frames.CODEC_RAW, data):
            self._write(frames.piece_head(piece), piece.data)

    def refuse_chunk(self, bundle: bytes, digest: bytes, reason: str) -> None:
        self._send(Unavailable(bundle, (digest,), reason))

    @property
    def unsent_bytes(self) -> int:
        return sum(map(len, self.outbox))

    def _send(self, message: Message) -> None:
        self._write(frame(message))

    def _write(self, *pieces: bytes | memoryview) -> None:
        self.outbox.extend(map(memoryview, pieces))


def _ranks_at(job: SessionJob, nodes: str) -> tuple[int, ...]:
    """The ranks of a job on these nodes, which are told by their places."""
    spec = NodeSpec.parse(nodes)
    return tuple(rank for rank, place in enumerate(job.places) if spec.selects(place))


def _task_exited(node: str, told: TaskFinished) -> TaskExited:
    task = Task(told.number, told.line, told.values)
    return TaskExited(node, task, told.slot, told.outcome, told.seconds, told.rank, told.time_s)
