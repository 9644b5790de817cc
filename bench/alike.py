"""Output that all nodes have alike: `gproc e -b` beside `clush -b`, and what crosses the master's links."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import gproc
from bench import processes, yardsticks
from bench.figures import MB, Figure, Settings, Yardstick, samples
from bench.output import LINE
from bench.tree import Done, Part, Tree
from gproc.relay.neighbours import Downstream
from gproc.relay.relayed_job import RelayedJob
from gproc.request.spec import Request
from gproc.wire import frames, messages
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded
from gproc.wire.merging import AnnounceOutput, AnswerOutput, BringOutput, SameOutput

SHORT: Final = "/etc/os-release"
LONG_BYTES: Final = 100_000

VIRTUAL_SMALL: Final = (4, 20)
VIRTUAL_LARGE: Final = (70, 72)
"""Racks, and nodes of each: 80 and 5,040 nodes."""


def measure(settings: Settings) -> Iterator[Figure]:
    with Tree(settings.racks, settings.rack_size) as tree:
        yield _beside_clush(tree, settings)
        yield from _bytes_of(tree, settings)
    yield _virtual(*VIRTUAL_SMALL)
    yield _virtual(*VIRTUAL_LARGE)
    yield from _much(settings)


def _beside_clush(tree: Tree, settings: Settings) -> Figure:
    _gathered(tree, "/bin/cat", SHORT)
    done = [_gathered(tree, "/bin/cat", SHORT) for _ in range(settings.runs)]
    clush = [shutil.which("clush", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}") or "clush"]
    clush += ["--worker=exec", "-b", "-f", str(tree.size), "-w", f"n[1-{tree.size}]", "cat", SHORT]
    natively = [yardsticks.seconds_of(clush) for _ in range(settings.runs)]
    return Figure(
        what=f"`e -b ./. cat {SHORT}` on {tree.size} nodes", unit="s", measured=samples([one.wall_s for one in done]),
        yardstick=Yardstick("clush -b --worker=exec, which starts cat on this machine, without ssh", samples(natively)),
        note=f"client: {max(one.peak_bytes for one in done) / MB:.0f} MB",
    )  # fmt: skip


def _bytes_of(tree: Tree, settings: Settings) -> Iterator[Figure]:
    """The bytes that the master receives from the nodes below it, less those of a run whose programs say nothing."""
    path = f"{tree.place}/said"
    with open(path, "wb") as file:
        file.write(os.urandom(LONG_BYTES))
    for what, words, size in (
        (f"a file of {LONG_BYTES // 1000} kB", ("/bin/cat", path), LONG_BYTES),
        (SHORT, ("/bin/cat", SHORT), os.path.getsize(SHORT)),
    ):
        silent = [_received(tree, "/bin/true") for _ in range(settings.runs)]
        said = [_received(tree, *words) for _ in range(settings.runs)]
        measured = [each - min(silent) for each in said]
        yield Figure(
            what=f"bytes at the master of {what} from each of {tree.size} nodes in {tree.racks} racks", unit="kB",
            measured=samples([each / 1000 for each in measured]),
            note=f"{tree.size} copies: {tree.size * size / 1000:.1f} kB, one for each rack: "
            f"{tree.racks * size / 1000:.1f}; how the programs ended: {min(silent) / 1000:.1f}",
        )  # fmt: skip


def _received(tree: Tree, *words: str) -> int:
    before = _from_nodes_bytes(tree)
    _gathered(tree, *words)
    return _from_nodes_bytes(tree) - before


def _from_nodes_bytes(tree: Tree) -> int:
    with gproc.connect(tree.socket) as cluster:
        counts = cluster.info().counts
    assert counts is not None
    return counts.from_nodes_bytes


def _gathered(tree: Tree, *words: str) -> Done:
    return tree.run("e", "-localbin", "-b", "./.", *words)


# 5,000 nodes: the rules of relays alone, in this process


class _Silent:
    """A node that only listens."""

    def start(self, *_: Any, **__: Any) -> None:
        pass

    obey = stdin = credit = acknowledge = release = answer = send = write = start


class _Rack(_Silent):
    """A rack master as the master's downstream, and the link between the two.  up, down: what is on it."""

    def __init__(self) -> None:
        self.leaves: dict[int, Downstream] = {}
        self.up: deque[bytes | messages.Message] = deque()
        self.down: deque[AnswerOutput] = deque()
        self.bytes = 0
        self.relayed: RelayedJob

    def start(self, run: messages.Run) -> None:
        self.relayed = RelayedJob(run.job, run.ticket, _REQUEST, self)
        parts: dict[Downstream, Branch] = {}
        for branch in run.branch.children.values():
            self.leaves[branch.rank] = leaf = _Silent()
            parts[leaf] = branch
        self.relayed.start(run, parts, {})

    def answer(self, answer: AnswerOutput) -> None:
        self.down.append(answer)

    def send(self, message: messages.Message) -> None:
        self.bytes += len(messages.frame(message))
        self.up.append(message)

    def write(self, frame: bytes) -> None:
        self.bytes += len(frame)
        self.up.append(frame)

    def deliver(self, master: RelayedJob) -> None:
        """What is on the link arrives."""
        for _ in range(len(self.up)):
            match said := self.up.popleft():
                case bytes():
                    _, rank, stream, offset, view = frames.read_stdio(memoryview(said)[frames.HEADER_BYTES :])
                    master.output(self, rank, stream, offset, view)
                    self.relayed.credit_from_upstream(stream, len(view))
                case SameOutput():
                    master.same_output(self, said)
                    self.relayed.credit_from_upstream(said.stream, said.size)
                case AnnounceOutput():
                    master.announced(self, said)
                    self.relayed.credit_from_upstream(said.stream, said.size)
                case BringOutput():
                    master.brought(self, said)
                case RankEnded():
                    master.finished(self, said)
        while self.down:
            self.relayed.heard(self.down.popleft())


class _Client(_Silent):
    """Takes everything at once.  bytes: of output that came."""

    def __init__(self) -> None:
        self.bytes = 0
        self.master: RelayedJob

    def write(self, frame: bytes) -> None:
        size = len(frame) - frames.HEADER_BYTES - frames.STDIO_HEADER_BYTES
        self.bytes += size
        self.master.credit_from_upstream(frames.STDOUT, size)


_REQUEST: Final = Request(nodes=".", argv=(b"cat",))
_TICKET: Final = messages.Signed(b"ticket", bytes(64))


def _virtual(count: int, size: int) -> Figure:
    """`count` racks of `size` nodes each: all nodes say the same at once."""
    racks = [_Rack() for _ in range(count)]
    branches = [
        Branch(-1, {leaf + 1: Branch(rack * size + leaf, {}) for leaf in range(size)}) for rack in range(count)
    ]
    client = _Client()
    client.master = master = RelayedJob(1, _TICKET, _REQUEST, client)
    parts: dict[Downstream, Branch] = dict(zip(racks, branches, strict=True))
    master.start(messages.Run(1, count * size, _TICKET, Branch(-1, dict(enumerate(branches))), 1 << 20), parts, {})
    data = os.urandom(LONG_BYTES)
    end_bytes = len(messages.frame(_end(0)))
    began_s = time.process_time()
    for leaf in range(size):
        for begin in range(0, LONG_BYTES, 16 << 10):
            for number, rack in enumerate(racks):
                rank = number * size + leaf
                part = data[begin : begin + (16 << 10)]
                rack.relayed.output(rack.leaves[rank], rank, frames.STDOUT, begin, part)
            for rack in racks:
                rack.deliver(master)
        for number, rack in enumerate(racks):
            rack.relayed.finished(rack.leaves[number * size + leaf], _end(number * size + leaf))
    while any(rack.up for rack in racks):
        for rack in racks:
            rack.deliver(master)
    took_ms = (time.process_time() - began_s) * 1000 / (count * size)
    assert client.bytes == LONG_BYTES * count * size
    said = [rack.bytes - size * end_bytes for rack in racks]
    return Figure(
        what=f"the same of {count * size} virtual nodes in {count} racks, a file of {LONG_BYTES // 1000} kB", unit="kB",
        measured=samples([sum(said) / 1000]),
        note=f"{count * size} copies: {count * size * LONG_BYTES / 1000:.0f} kB, one for each rack: "
        f"{count * LONG_BYTES / 1000:.0f}; of one rack {min(said) / 1000:.1f} to {max(said) / 1000:.1f} kB; "
        f"CPU of the master and its relay: {took_ms:.2f} ms for each node",
    )  # fmt: skip


def _end(rank: int) -> RankEnded:
    return RankEnded(1, rank, messages.Signed(bytes(150), bytes(64)))


def _much(settings: Settings) -> Iterator[Figure]:
    """As `bench.output`, gathered: the memory of each process, and what crosses the master's link."""
    program = f"yes {LINE} | head -c {settings.output_mb * 1_000_000}"
    with Tree(1, settings.output_nodes) as tree:
        _gathered(tree, "/bin/sh", "-c", program)
        watched = [(part, pid) for _, part, pid in tree.processes()]
        for _, pid in watched:
            processes.forget_peak(pid)
        before = _from_nodes_bytes(tree)
        done = [_gathered(tree, "/bin/sh", "-c", program) for _ in range(min(5, settings.runs))]
        received_mb = (_from_nodes_bytes(tree) - before) / len(done) / MB
        peaks: dict[Part | str, float] = {"client": max(one.peak_bytes for one in done) / MB}
        for part, pid in watched:
            peaks[part] = max(peaks.get(part, 0.0), processes.peak_bytes(pid) / MB)
        full_size = (settings.output_mb, tree.size) == (20, 16)
        yield Figure(
            what=f"`e -b`, {settings.output_mb} MB alike from each of {tree.size} nodes of one rack", unit="s",
            measured=samples([one.wall_s for one in done]),
            note=f"{received_mb:.0f} MB of {settings.output_mb * tree.size} cross the master's link",
        )  # fmt: skip
        highest = max(peaks, key=lambda part: peaks[part])
        yield Figure(
            what="the same, peak memory of the largest process", unit="MB", measured=samples([peaks[highest]]),
            budget=96 if full_size else None,
            note=", ".join(f"{part} {peak:.0f}" for part, peak in sorted(peaks.items())),
        )  # fmt: skip
