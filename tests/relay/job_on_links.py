"""A relayed job with links in memory, and the signed ends of its ranks."""

from __future__ import annotations

from blake3 import blake3

from gproc.relay.delivery import EMPTY
from gproc.relay.neighbours import Downstream
from gproc.relay.receipt import JobReceipt, RunOfNode
from gproc.relay.relayed_job import RelayedJob
from gproc.request.acts import Act
from gproc.request.outcome import Outcome
from gproc.request.spec import Request
from gproc.trust.orders import JobOrders, JobSigner
from gproc.trust.outcomes import RunKey, SignedEnd, read_end
from gproc.trust.signing import Signer
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.endings import Acknowledged, RankEnded, Release
from gproc.wire.merging import AnswerOutput
from gproc.wire.messages import Finished, Message, Run, Signed

JOB = 7
WINDOW_BYTES = 1 << 18
SIGNED = Signed(b"ticket", b"signature")
ORDER = Signed(b"order", b"signature")
RELEASE = Release(JOB, b"signature")
SESSION = b"s" * 16
MASTER = Signer(b"m" * 32)
JOB_SIGNER = JobSigner(MASTER, SESSION, JOB)
RUN_KEYS = [RunKey() for _ in range(6)]
NONCES = [bytes([rank]) * 16 for rank in range(6)]
Output = tuple[int, int, bytes]


class Upstream:
    """Records what the job sends upstream, in order."""

    def __init__(self) -> None:
        self.sent: list[Message | Output] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def write(self, frame: bytes) -> None:
        job, rank, stream, _, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        assert job == JOB
        self.sent.append((rank, stream, bytes(data)))

    @property
    def outputs(self) -> list[Output]:
        return [sent for sent in self.sent if isinstance(sent, tuple)]

    @property
    def outcomes(self) -> dict[int, Outcome]:
        found: dict[int, Outcome] = {}
        for sent in self.sent:
            if isinstance(sent, Finished | RankEnded):
                assert sent.rank not in found, "a rank ended twice"
                found[sent.rank] = outcome_in(sent)
        return found


class Member:
    """A downstream that records what the job sends it."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.acts: list[tuple[Act | None, Signed]] = []
        self.input: list[bytes] = []
        self.granted = {frames.STDOUT: 0, frames.STDERR: 0}
        self.acknowledged: dict[tuple[int, int], int] = {}
        self.released = 0

    def start(self, run: Run) -> None:
        self.runs.append(run)

    def obey(self, job: int, act: Act | None, order: Signed) -> None:
        self.acts.append((act, order))

    def stdin(self, job: int, block: frames.InputBlock) -> None:
        self.input.append(block.data)

    def credit(self, job: int, stream: int, size: int) -> None:
        self.granted[stream] += size

    def answer(self, answer: AnswerOutput) -> None:
        raise AssertionError("nothing was announced")

    def acknowledge(self, taken: Acknowledged) -> None:
        JobOrders(MASTER.public_key, SESSION, JOB, NONCES[taken.rank]).check_taken(taken)
        self.acknowledged[taken.rank, taken.stream] = taken.bytes

    def release(self, word: Release) -> None:
        assert word == RELEASE
        self.released += 1


def job_of(branch: Branch, *, window_bytes: int = WINDOW_BYTES) -> Run:
    return Run(JOB, len(branch.ranks()), SIGNED, branch, window_bytes)


def asked(*, stdin: bool) -> Request:
    return Request(nodes=".", argv=(b"x",), stdin=stdin)


def begin(
    parts: dict[Member, Branch], *, stdin: bool = False, window_bytes: int = WINDOW_BYTES, master: bool = False
) -> tuple[RelayedJob, Upstream]:
    upstream = Upstream()
    relayed = RelayedJob(JOB, SIGNED, asked(stdin=stdin), upstream, receipt() if master else None)
    branch = Branch(-1, dict(enumerate(parts.values(), start=1)))
    downstream: dict[Downstream, Branch] = {member: part for member, part in parts.items()}  # noqa: C416 - for mypy
    relayed.start(job_of(branch, window_bytes=window_bytes), downstream, {})
    return relayed, upstream


def receipt() -> JobReceipt:
    runs = [RunOfNode(NONCES[rank], RUN_KEYS[rank].public) for rank in range(6)]
    return JobReceipt(JOB, asked(stdin=False), JOB_SIGNER, runs)


def ended(rank: int, outcome: Outcome, stdout: bytes = b"", *, by: int | None = None, job: int = JOB) -> RankEnded:
    """by: the rank whose node signs it; None: its own."""
    digests = (blake3(stdout).digest(), EMPTY)
    end = SignedEnd(SESSION, job, rank, 6, outcome, (len(stdout), 0), digests)
    return RankEnded(JOB, rank, RUN_KEYS[rank % 6 if by is None else by].sign(end))


def outcome_in(sent: Finished | RankEnded) -> Outcome:
    if isinstance(sent, Finished):
        return sent.outcome
    assert sent.signed is not None
    return read_end(sent.signed, RUN_KEYS[sent.rank].public).outcome
