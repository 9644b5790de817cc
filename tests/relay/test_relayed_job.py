"""One job's passage: who may say what of which rank, and what is said above, in which order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gproc.errors import EXIT_GPROC
from gproc.relay.relayed_job import Downstream, RelayedJob
from gproc.wire import frames
from gproc.wire.credit import quantum, window_for
from gproc.wire.messages import Branch, Credit, Finished, Message, Outcome, Run, Signed, TerminalSize

JOB = 7
WINDOW_BYTES = 1 << 18
SIGNED = Signed(b"ticket", b"signature")
Output = tuple[int, int, bytes]


class Listener:
    """Stands above: keeps what is said, in the order in which it is said."""

    def __init__(self) -> None:
        self.heard: list[Message | Output] = []

    def send(self, message: Message) -> None:
        self.heard.append(message)

    def write(self, frame: bytes) -> None:
        job, rank, stream, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        assert job == JOB
        self.heard.append((rank, stream, bytes(data)))

    @property
    def outputs(self) -> list[Output]:
        return [heard for heard in self.heard if isinstance(heard, tuple)]

    @property
    def outcomes(self) -> dict[int, Outcome]:
        found: dict[int, Outcome] = {}
        for heard in self.heard:
            if isinstance(heard, Finished):
                assert heard.rank not in found, "a rank ended twice"
                found[heard.rank] = heard.outcome
        return found


class Member:
    """Stands below: keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.signals: list[int] = []
        self.sizes: list[TerminalSize] = []
        self.input: list[bytes] = []
        self.granted = {frames.STDOUT: 0, frames.STDERR: 0}
        self.released = 0

    def start(self, run: Run) -> None:
        self.runs.append(run)

    def signal(self, job: int, signum: int) -> None:
        self.signals.append(signum)

    def resize(self, job: int, terminal_size: TerminalSize) -> None:
        self.sizes.append(terminal_size)

    def stdin(self, job: int, data: bytes) -> None:
        self.input.append(data)

    def credit(self, job: int, stream: int, size: int) -> None:
        self.granted[stream] += size

    def release(self, job: int) -> None:
        self.released += 1


def job_of(branch: Branch, *, stdin: bool = False, window_bytes: int = WINDOW_BYTES) -> Run:
    return Run(JOB, len(branch.ranks()), SIGNED, branch, window_bytes, stdin)


def begin(
    parts: dict[Member, Branch], *absent: Branch, stdin: bool = False, window_bytes: int = WINDOW_BYTES
) -> tuple[RelayedJob, Listener]:
    listener = Listener()
    relayed = RelayedJob(JOB, SIGNED, b"", listener)
    branch = Branch(-1, dict(enumerate([*parts.values(), *absent], start=1)))
    downstream: dict[Downstream, Branch] = {member: part for member, part in parts.items()}  # noqa: C416 - for mypy
    relayed.start(job_of(branch, stdin=stdin, window_bytes=window_bytes), downstream, absent, {})
    return relayed, listener


def test_each_is_told_only_its_own_part() -> None:
    first, second = Member(), Member()
    begin({first: Branch(0, {}), second: Branch(-1, {4: Branch(1, {})})})
    assert [run.branch for run in first.runs] == [Branch(0, {})]
    assert [run.branch for run in second.runs] == [Branch(-1, {4: Branch(1, {})})]
    assert second.runs[0].ticket == SIGNED
    assert second.runs[0].window_bytes == window_for(2, WINDOW_BYTES)


def test_ranks_whose_node_is_not_there_are_lost_at_once() -> None:
    _, listener = begin({Member(): Branch(0, {})}, Branch(-1, {1: Branch(1, {}), 2: Branch(2, {})}))
    assert sorted(listener.outcomes) == [1, 2]
    assert all(outcome.lost and outcome.status == EXIT_GPROC for outcome in listener.outcomes.values())


def test_who_claims_anothers_rank_is_not_heard() -> None:
    honest, liar = Member(), Member()
    relayed, listener = begin({honest: Branch(0, {}), liar: Branch(1, {})})
    relayed.output(liar, 0, frames.STDOUT, b"forged")
    relayed.finished(liar, 0, Outcome(0))
    relayed.output(liar, 99, frames.STDOUT, b"of nobody")
    relayed.finished(liar, 99, Outcome(0))
    relayed.output(Member(), 0, frames.STDOUT, b"of a stranger")
    assert listener.heard == []
    relayed.finished(honest, 0, Outcome(3))
    assert listener.outcomes == {0: Outcome(3)}


def test_a_rank_that_has_ended_says_nothing_more() -> None:
    member = Member()
    relayed, listener = begin({member: Branch(0, {})})
    relayed.finished(member, 0, Outcome(0))
    relayed.output(member, 0, frames.STDOUT, b"from the grave")
    relayed.finished(member, 0, Outcome(1))
    assert listener.heard == [Finished(JOB, 0, Outcome(0))]


def test_an_ending_waits_for_output_that_waits_for_credit() -> None:
    member = Member()
    relayed, listener = begin({member: Branch(0, {})}, window_bytes=4)
    relayed.output(member, 0, frames.STDOUT, b"1234")
    relayed.output(member, 0, frames.STDOUT, b"5")
    relayed.finished(member, 0, Outcome(0))
    assert listener.heard == [(0, frames.STDOUT, b"1234")]
    relayed.credit_from_upstream(frames.STDOUT, 4)
    assert listener.heard[1:] == [(0, frames.STDOUT, b"5"), Finished(JOB, 0, Outcome(0))]


def test_one_who_leaves_loses_its_unfinished_ranks_after_what_they_said() -> None:
    member, other = Member(), Member()
    relayed, listener = begin({member: Branch(0, {1: Branch(1, {})}), other: Branch(2, {})}, window_bytes=4)
    relayed.finished(member, 1, Outcome(0))
    relayed.output(member, 0, frames.STDOUT, b"12345678"[:4])
    relayed.output(member, 0, frames.STDOUT, b"last")
    relayed.left(member, "unplugged")
    relayed.left(member, "unplugged twice")
    assert listener.outcomes == {1: Outcome(0)}
    relayed.credit_from_upstream(frames.STDOUT, 4)
    assert listener.outcomes == {1: Outcome(0), 0: Outcome(EXIT_GPROC, failure="unplugged", lost=True)}
    relayed.signal(15)
    relayed.release()
    assert (member.signals, member.released) == ([], 0)
    assert (other.signals, other.released) == ([15], 1)


def test_standard_input_reaches_all_and_one_who_leaves_holds_nobody_back() -> None:
    quick, slow = Member(), Member()
    relayed, listener = begin({quick: Branch(0, {}), slow: Branch(1, {})}, stdin=True)
    window = window_for(2, WINDOW_BYTES)
    piece = b"x" * quantum(window)
    for _ in range(window // len(piece) + 1):
        relayed.stdin(piece)
    relayed.credit_from_downstream(quick, window)
    assert b"".join(quick.input) == b"".join(slow.input) == b"x" * window
    relayed.left(slow, "gone")
    assert len(b"".join(quick.input)) == window + len(piece)
    credits_given = [heard for heard in listener.heard if isinstance(heard, Credit)]
    assert {heard.stream for heard in credits_given} == {frames.STDIN}
    assert sum(heard.bytes for heard in credits_given) == window + len(piece)


def test_standard_input_of_a_job_without_any_is_dropped() -> None:
    member = Member()
    relayed, _ = begin({member: Branch(0, {})})
    relayed.stdin(b"uninvited")
    assert member.input == []


def test_credit_for_a_stream_that_does_not_exist_changes_nothing() -> None:
    relayed, listener = begin({Member(): Branch(0, {})})
    relayed.credit_from_upstream(9, 100)
    assert listener.heard == []


class PassageMachine(RuleBasedStateMachine):
    """Three members with two ranks each, any order of output, credit, endings and losses."""

    @initialize(window=st.sampled_from([window_for(3, WINDOW_BYTES), WINDOW_BYTES]))
    def begin(self, window: int) -> None:
        self.window = window
        self.members = [Member() for _ in range(3)]
        parts = {
            member: Branch(2 * number, {1: Branch(2 * number + 1, {})}) for number, member in enumerate(self.members)
        }
        self.relayed, self.listener = begin(parts, window_bytes=window)
        self.sent: dict[tuple[int, int], bytes] = {}
        self.sent_by = dict.fromkeys(((n, s) for n in range(3) for s in (frames.STDOUT, frames.STDERR)), 0)
        self.acknowledged = dict.fromkeys((frames.STDOUT, frames.STDERR), 0)
        self.ended: dict[int, Outcome] = {}
        self.gone: set[int] = set()

    @rule(
        rank=st.integers(0, 5), stream=st.sampled_from([frames.STDOUT, frames.STDERR]),
        size=st.integers(1, frames.MAX_STDIO_BYTES), byte=st.integers(0, 255),
    )  # fmt: skip
    def output(self, rank: int, stream: int, size: int, byte: int) -> None:
        number = rank // 2
        member = self.members[number]
        size = min(size, window_for(3, WINDOW_BYTES) + member.granted[stream] - self.sent_by[number, stream])
        if rank in self.ended or not size:
            return
        data = bytes([byte]) * size
        self.sent_by[number, stream] += size
        self.sent[rank, stream] = self.sent.get((rank, stream), b"") + data
        self.relayed.output(member, rank, stream, data)

    @rule(rank=st.integers(0, 5), status=st.integers(0, 255))
    def finish(self, rank: int, status: int) -> None:
        if rank not in self.ended:
            self.ended[rank] = Outcome(status)
            self.relayed.finished(self.members[rank // 2], rank, self.ended[rank])

    @rule(number=st.integers(0, 2))
    def leave(self, number: int) -> None:
        if number not in self.gone:
            self.gone.add(number)
            self.relayed.left(self.members[number], "unplugged")
            for rank in (2 * number, 2 * number + 1):
                self.ended.setdefault(rank, Outcome(EXIT_GPROC, failure="unplugged", lost=True))

    @rule(stream=st.sampled_from([frames.STDOUT, frames.STDERR]), data=st.data())
    def credit(self, stream: int, data: st.DataObject) -> None:
        if in_flight := self.in_flight(stream):
            self.acknowledge(stream, data.draw(st.integers(1, in_flight)))

    def acknowledge(self, stream: int, size: int) -> None:
        self.acknowledged[stream] += size
        self.relayed.credit_from_upstream(stream, size)

    def in_flight(self, stream: int) -> int:
        emitted = sum(len(data) for _, of, data in self.listener.outputs if of == stream)
        return emitted - self.acknowledged[stream]

    @invariant()
    def what_is_said_above_is_in_order_and_within_the_window(self) -> None:
        assert all(self.in_flight(stream) <= self.window for stream in self.acknowledged)
        stopped: set[int] = set()
        said: dict[tuple[int, int], bytes] = {}
        for heard in self.listener.heard:
            if isinstance(heard, tuple):
                rank, stream, data = heard
                assert rank not in stopped, "output after its rank's end"
                said[rank, stream] = said.get((rank, stream), b"") + data
            elif isinstance(heard, Finished):
                stopped.add(heard.rank)
                assert all(said.get((heard.rank, of), b"") == self.sent.get((heard.rank, of), b"") for of in (1, 2))
        assert all(self.sent[key].startswith(data) for key, data in said.items())

    def teardown(self) -> None:
        """Whatever happened: a reader that goes on reading hears all of the output and every ending."""
        if not hasattr(self, "listener"):
            return
        while any(self.in_flight(stream) for stream in self.acknowledged):
            for stream in self.acknowledged:
                self.acknowledge(stream, self.in_flight(stream))
        said: dict[tuple[int, int], bytes] = {}
        for rank, stream, data in self.listener.outputs:
            said[rank, stream] = said.get((rank, stream), b"") + data
        assert said == self.sent
        assert self.listener.outcomes == self.ended
        assert sorted(self.relayed.unfinished) == sorted(set(range(6)) - set(self.ended))


def test_a_passage_conserves_output_and_endings_under_any_order_of_events() -> None:
    run_state_machine_as_test(PassageMachine)


def test_a_new_size_of_the_terminal_reaches_everyone_below() -> None:
    first, second = Member(), Member()
    relayed, _ = begin({first: Branch(0, {}), second: Branch(1, {})})
    relayed.resize(TerminalSize(24, 80))
    assert first.sizes == second.sizes == [TerminalSize(24, 80)]
