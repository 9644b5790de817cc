"""A parent and its children in memory: frames move when a test says so."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from gproc.relay.relayed_job import RelayedJob
from gproc.request.spec import Request
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.endings import OutputGone, RankEnded
from gproc.wire.merging import AnnounceOutput, AnswerOutput, BringOutput, SameOutput
from gproc.wire.messages import Credit, Message, Run, Signed, frame

JOB = 7
TICKET = Signed(b"ticket", b"signature")
REQUEST = Request(nodes=".", argv=(b"x",))
ALIKE = os.urandom(100_000)
OTHER = ALIKE[:30_000] + os.urandom(20_000) + ALIKE[50_000:]
STRANGE = os.urandom(100_000)


class Up:
    """The parent's own way up: what has come of each rank, who has ended, and up to where output is gone."""

    def __init__(self) -> None:
        self.got: dict[int, bytearray] = {}
        self.ended: list[int] = []
        self.gone: list[int] = []
        self.parent: RelayedJob

    def write(self, said: bytes) -> None:
        _, rank, stream, offset, view = frames.read_stdio(memoryview(said)[frames.HEADER_BYTES :])
        got = self.got.setdefault(rank, bytearray())
        assert rank not in self.ended and offset == len(got)
        got += view
        self.parent.credit_from_upstream(stream, len(view))

    def send(self, message: Message) -> None:
        if isinstance(message, OutputGone):
            self.gone.append(message.bytes)
            return
        assert isinstance(message, RankEnded)
        self.ended.append(message.rank)


class Leaf:
    """A program's node, whose ranks' output the child relays."""

    def start(self, *_: Any) -> None:
        pass

    obey = stdin = credit = acknowledge = release = answer = start


class Child:
    """A child of the parent, with a link whose messages arrive when the test says so.  bytes: sent to the parent."""

    def __init__(self) -> None:
        self.up: deque[bytes | Message] = deque()
        self.down: deque[Message] = deque()
        self.bytes = 0
        self.leaves: dict[int, Leaf] = {}
        self.relayed: RelayedJob

    # The parent's `Downstream`

    def start(self, run: Run) -> None:
        self.relayed = RelayedJob(JOB, TICKET, REQUEST, self)
        inner = list(run.branch.children.values())
        self.leaves = {branch.rank: Leaf() for branch in inner}
        parts = {self.leaves[branch.rank]: branch for branch in inner}
        self.relayed.start(run, parts, {})  # type: ignore[arg-type]

    def credit(self, job: int, stream: int, size: int) -> None:
        self.down.append(Credit(job, stream, size))

    def answer(self, answer: AnswerOutput) -> None:
        self.down.append(answer)

    def acknowledge(self, *_: Any) -> None:
        pass

    obey = stdin = release = acknowledge

    # The child's `Upstream`

    def write(self, said: bytes) -> None:
        self.bytes += len(said)
        self.up.append(said)

    def send(self, message: Message) -> None:
        if not isinstance(message, Credit):
            self.bytes += len(frame(message))
            self.up.append(message)


class Family:
    """A parent with children, of which each has so many ranks.  `timers`: what the parent wants to do later."""

    def __init__(self, children: int, ranks: int = 1) -> None:
        self.up = Up()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.children = [Child() for _ in range(children)]
        self.parent = self.up.parent = RelayedJob(JOB, TICKET, REQUEST, self.up)
        branches: list[Branch] = []
        for number in range(children):
            mine = range(number * ranks, (number + 1) * ranks)
            branches.append(Branch(-1, {at + 1: Branch(at, {}) for at in mine}))
        parts = dict(zip(self.children, branches, strict=True))
        run = Run(JOB, children * ranks, TICKET, Branch(-1, dict(enumerate(branches))), 1 << 20)
        self.parent.start(run, parts, {}, lambda delay_s, call: self.timers.append((delay_s, call)))  # type: ignore[arg-type]

    def say(self, child: Child, rank: int, offset: int, data: bytes) -> None:
        leaf = child.leaves[rank]
        for begin in range(0, len(data), 1 << 16):
            child.relayed.output(leaf, rank, 1, offset + begin, data[begin : begin + (1 << 16)])

    def end(self, child: Child, rank: int) -> None:
        child.relayed.finished(child.leaves[rank], RankEnded(JOB, rank, TICKET))

    def deliver_up(self, child: Child) -> None:
        """One message reaches the parent."""
        match said := child.up.popleft():
            case bytes():
                _, rank, stream, offset, view = frames.read_stdio(memoryview(said)[frames.HEADER_BYTES :])
                self.parent.output(child, rank, stream, offset, view)
            case SameOutput():
                self.parent.same_output(child, said)
            case AnnounceOutput():
                self.parent.announced(child, said)
            case BringOutput():
                self.parent.brought(child, said)
            case RankEnded():
                self.parent.finished(child, said)
            case _:
                raise AssertionError(said)

    def deliver_down(self, child: Child) -> None:
        said = child.down.popleft()
        assert isinstance(said, Credit | AnswerOutput)
        child.relayed.heard(said)

    def settle(self) -> None:
        while any(child.up or child.down for child in self.children):
            for child in self.children:
                if child.up:
                    self.deliver_up(child)
                if child.down:
                    self.deliver_down(child)

    @property
    def bytes(self) -> int:
        return sum(child.bytes for child in self.children)
