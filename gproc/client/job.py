"""The near side of `gproc e` and `gproc i`: one Unix socket to the master, without asyncio, for a quick start.

Whom it trusts: a master that is root or this very user, nobody else; it says nothing before it knows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gproc.client.lines import Lines
from gproc.content.manifest import Digest
from gproc.errors import BundleError, GprocError, LinkLost, PeerError
from gproc.nodespec import Path, format_path
from gproc.packager import Bundle, read_chunk
from gproc.spread.trees import MIN_BROADCAST_BYTES
from gproc.trust.meeting import dial
from gproc.wire import frames, messages
from gproc.wire.credit import quantum
from gproc.wire.messages import (
    Accepted,
    Credit,
    Finished,
    Outcome,
    Rejected,
    Resize,
    SignalJob,
    StageProgress,
    Unavailable,
    Want,
)

OUTBOX_BYTES: Final = 1 << 20
"""Unsent bytes at which no further chunk is read."""

PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals to us that are meant for the program.  One of the first four, given twice, kills it."""


class JobRejected(GprocError):
    """The master did not take the job; `exit_status` is what it says."""

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status  # type: ignore[misc]


class Connection:
    """Frames to and from the master.  Writing never blocks; what did not fit waits in the outbox."""

    def __init__(self, path: str) -> None:
        """Raises: GprocError where no master is there, TrustError where it is not one to be trusted."""
        try:
            self._socket, self._path = dial(path)
        except OSError as error:
            raise _no_master(path, error) from error
        self._socket.setblocking(False)
        self._reader = frames.FrameReader()
        self._greeted = False
        self._outbox: deque[memoryview] = deque([memoryview(frames.preface(frames.CHANNEL_CLIENT))])
        self._flushing = False

    @property
    def unsent_bytes(self) -> int:
        return sum(map(len, self._outbox))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: messages.Message) -> None:
        self.write(messages.frame(message))

    def write(self, frame: bytes) -> None:
        self._outbox.append(memoryview(frame))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes.  Raises: LinkLost."""
        if self._flushing:
            # A signal's handler writes while its main program is right here, and sends this too.
            return
        self._flushing = True
        try:
            while self._outbox:
                piece = self._outbox[0]
                done = self._socket.send(piece)
                if done < len(piece):
                    self._outbox[0] = piece[done:]
                else:
                    self._outbox.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise LinkLost(f"the master at {self._path}: {error.strerror}") from error
            # What it said before it went is still to be read.
        finally:
            self._flushing = False

    def receive(self, handle: Callable[[int, memoryview], None]) -> None:
        """Read once and hand every whole frame over.  Raises: LinkLost at the end, PeerError for garbage."""
        space = self._reader.space()
        try:
            count = self._socket.recv_into(space)
        except BlockingIOError:
            return
        except ConnectionResetError:  # it ended before it had read all that we sent
            count = 0
        except OSError as error:
            raise LinkLost(f"lost the master at {self._path}: {error.strerror}") from error
        if not count:
            raise LinkLost(f"the master at {self._path} has ended")
        if not self._greeted:
            have = self._reader.raw(count)
            if len(have) < frames.PREFACE_BYTES:
                return
            frames.read_preface(have[: frames.PREFACE_BYTES])
            self._reader.skip(frames.PREFACE_BYTES)
            self._greeted, count = True, 0
        for kind, payload in self._reader.frames(count):
            handle(kind, payload)

    def close(self) -> None:
        self._socket.close()


class Progress(Protocol):
    """What a job's client tells of its transfer.  Silent unless something is shown."""

    def begin(self, nodes: int, bundle_bytes: int) -> None: ...

    def stage_progress(self, rank: int, received_bytes: int, complete: bool) -> None: ...

    def tick(self) -> float | None:
        """Show what is new; seconds until the next call is due, None where none is."""

    def clear(self) -> None:
        """Out of the way: something else is about to be written to the terminal."""


class Sink(Protocol):
    """Where output goes that is not printed."""

    def begin(self, paths: Sequence[Path]) -> None:
        """The nodes of the job, by rank; before anything else."""

    def output(self, rank: int, stream: int, data: memoryview) -> None:
        """What a node said next; the view is only good during the call."""

    def finish(self) -> None:
        """Nothing more comes, whatever became of the job."""


class JobClient:
    """One job, from its submission to its last outcome."""

    def __init__(
        self, connection: Connection, submit: messages.Submit, bundle: Bundle | None, *, label: bool,
        stdin: int | None, progress: Progress, sink: Sink | None = None,
    ) -> None:  # fmt: skip
        """stdin: descriptor that every node's program reads; None: none does.  sink: None: output is printed."""
        self.paths: tuple[Path, ...] = ()
        self.missing = ""
        self.outcomes: dict[int, Outcome] = {}
        self.problem: str | None = None
        self.reader_is_gone = False
        self._connection = connection
        self._submit = submit
        self._bundle = bundle
        self._label = label
        self._sink = sink
        self._progress = progress
        self._job: int | None = None
        self._stdin = stdin
        self._stdin_credit = 0
        self._lines: dict[int, Lines] = {}
        self._owed = {frames.STDOUT: 0, frames.STDERR: 0}
        self._closed: set[int] = set()
        self._wanted: deque[tuple[bytes, bytes]] = deque()
        self._interrupted = False

    def run(self) -> None:
        """Raises: JobRejected, LinkLost, PeerError; BundleError where a file changed while it was sent."""
        self._connection.send(self._submit)
        former = {signum: signal.signal(signum, self._on_signal) for signum in PASSED_ON}
        if self._submit.terminal_size is not None:
            former[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._on_resize)
        try:
            while self._job is None or len(self.outcomes) < len(self.paths):
                self._wait()
            self._progress.tick()
            for stream, lines in self._lines.items():
                for piece in lines.finish():
                    self._print(stream, piece)
        finally:
            self._progress.clear()
            if self._sink is not None:
                self._sink.finish()
            for signum, handler in former.items():
                signal.signal(signum, handler)

    def _wait(self) -> None:
        poll = select.poll()
        sending = self._connection.unsent_bytes > 0 or self._wanted
        poll.register(self._connection, select.POLLIN | (select.POLLOUT if sending else 0))
        if self._stdin is not None and self._stdin_credit > 0:
            poll.register(self._stdin, select.POLLIN)
        pause_s = self._progress.tick()
        for handle, _ in poll.poll(None if pause_s is None else pause_s * 1000):
            if handle == self._stdin:
                self._read_stdin()
            else:
                self._connection.flush()
                self._send_chunks()
                self._connection.receive(self._handle)

    # From the master

    def _handle(self, kind: int, payload: memoryview) -> None:
        if kind == frames.KIND_STDIO:
            _, rank, stream, data = frames.read_stdio(payload)
            self._output(rank, stream, data)
            return
        match messages.decode(payload):
            case Finished(_, rank, outcome):
                self.outcomes[rank] = outcome
            case StageProgress(_, rank, received_bytes, complete):
                self._progress.stage_progress(rank, received_bytes, complete)
            case Credit(_, _, size):
                self._stdin_credit += size
            case Want(bundle, digests):
                self._wanted.extend((bundle, digest) for digest in digests)
                self._send_chunks()
            case Accepted() as accepted:
                self._begin(accepted)
            case Rejected(status, reason):
                raise JobRejected(reason, status)
            case message:
                raise PeerError(f"the master sent {type(message).__name__}")

    def _begin(self, accepted: Accepted) -> None:
        self._job = accepted.job
        self.paths = accepted.paths
        self.missing = accepted.missing
        self._stdin_credit = accepted.window_bytes
        if self._submit.terminal_size is not None:
            self._on_resize()  # it may have changed since we asked
        if self._submit.bundle_bytes >= MIN_BROADCAST_BYTES:
            self._progress.begin(len(self.paths), self._submit.bundle_bytes)
        if self._sink is not None:
            self._sink.begin(self.paths)
        labels = [format_path(path).encode() + b": " for path in self.paths] if self._label else None
        for stream in (frames.STDOUT, frames.STDERR):
            self._lines[stream] = Lines(len(self.paths), labels)

    def _output(self, rank: int, stream: int, data: memoryview) -> None:
        lines = self._lines.get(stream)
        if lines is None or rank >= len(self.paths):
            raise PeerError("the master sent output that belongs to no node of this job")
        if self._sink is not None:
            self._sink.output(rank, stream, data)
        else:
            for piece in lines.feed(rank, data):
                self._print(stream, piece)
        self._owed[stream] += len(data)
        if self._owed[stream] >= quantum(frames.CLIENT_WINDOW_BYTES) and self._job is not None:
            self._connection.send(Credit(self._job, stream, self._owed[stream]))
            self._owed[stream] = 0

    def _print(self, stream: int, data: bytes | memoryview) -> None:
        """Write all of it; a reader that is gone ends the job, as SIGPIPE ends a local program."""
        self._progress.clear()
        view = memoryview(data)
        while view and stream not in self._closed:
            try:
                view = view[os.write(stream, view) :]
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(stream, select.POLLOUT)
                waiting.poll()
            except BrokenPipeError:
                self._closed.add(stream)
                self.reader_is_gone = True
                self._signal(signal.SIGTERM)
            except OSError as error:
                self._closed.add(stream)
                self.problem = f"cannot write {'stdout' if stream == frames.STDOUT else 'stderr'}: {error.strerror}"
                self._signal(signal.SIGTERM)

    # To the master

    def _read_stdin(self) -> None:
        assert self._stdin is not None and self._job is not None
        try:
            data = os.read(self._stdin, min(self._stdin_credit, quantum(frames.CLIENT_WINDOW_BYTES)))
        except BlockingIOError:
            return
        except OSError as error:
            self.problem = f"cannot read stdin: {error.strerror}"
            data = b""
        self._stdin_credit -= len(data)
        self._connection.write(frames.stdio_frame(self._job, frames.EVERY_RANK, frames.STDIN, data))
        if not data:
            self._stdin = None

    def _send_chunks(self) -> None:
        """Send chunks that the master wants, one at a time, so that none waits in memory."""
        while self._wanted and self._connection.unsent_bytes < OUTBOX_BYTES and self._bundle is not None:
            bundle, digest = self._wanted.popleft()
            try:
                data = self._bundle.encoded if digest == bundle else read_chunk(self._bundle, Digest(digest))
            except BundleError as error:
                self.problem = str(error)
                self._connection.send(Unavailable(bundle, (digest,), str(error)))
                continue
            for piece in frames.pieces(digest, frames.CODEC_RAW, data):
                self._connection.write(frames.piece_frame(piece))

    def _on_signal(self, signum: int, _frame: object) -> None:
        if signum in (signal.SIGUSR1, signal.SIGUSR2):
            self._signal(signum)
            return
        if self._job is None:
            # Nothing runs yet that could be told.
            raise SystemExit(128 + signum)
        self._signal(signal.SIGKILL if self._interrupted else signum)
        self._interrupted = True

    def _on_resize(self, *_: object) -> None:
        from gproc.client.terminal import terminal_size_of  # who has no terminal needs no termios

        if self._job is not None and self._stdin is not None:
            # One that hung up has no size; what that means is learned by reading it.
            with contextlib.suppress(OSError):
                self._connection.send(Resize(self._job, terminal_size_of(self._stdin)))

    def _signal(self, signum: int) -> None:
        if self._job is not None:
            self._connection.send(SignalJob(self._job, signum))


def inquire(path: str) -> messages.TreeState:
    """The tree.  Raises: GprocError."""
    connection = Connection(path)
    found: list[messages.TreeState] = []

    def handle(kind: int, payload: memoryview) -> None:
        message = messages.decode(payload) if kind == frames.KIND_CONTROL else None
        if not isinstance(message, messages.TreeState):
            raise PeerError("the master did not answer with its tree")
        found.append(message)

    connection.send(messages.Inquire())
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while not found:
        poll.poll()
        connection.receive(handle)
    connection.close()
    return found[0]


def _no_master(path: str, error: OSError) -> GprocError:
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return GprocError(f"no master is listening at {path}: start one with 'gproc m'")
    if error.errno is None:
        return GprocError(f"the socket's path {path} is too long for the kernel: choose a shorter one with --socket")
    if error.errno == errno.EACCES:
        return GprocError(f"the master at {path} is another user's: {error.strerror}")
    return GprocError(f"cannot connect to {path}: {error.strerror}")
