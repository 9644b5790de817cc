"""A relayed job: which downstream may report on which rank, and what goes upstream in which order."""

from __future__ import annotations

from gproc.relay.delivery import ACKNOWLEDGED_BYTES
from gproc.relay.receipt import FOR_ANOTHER, NOT_SIGNED, OUTPUT_CHANGED, JobReceipt
from gproc.request.acts import SendSignal, SetTerminalSize
from gproc.request.outcome import Lost, Refused, Returned
from gproc.request.spec import TerminalSize
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.credit import MIN_WINDOW_BYTES, quantum, window_for
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Credit, Finished, Signed
from tests.relay.job_on_links import (
    JOB,
    ORDER,
    RELEASE,
    RUN_KEYS,
    SESSION,
    SIGNED,
    WINDOW_BYTES,
    Member,
    Upstream,
    begin,
    ended,
    job_of,
)


def test_each_downstream_gets_only_its_own_part() -> None:
    first, second = Member(), Member()
    begin({first: Branch(0, {}), second: Branch(-1, {4: Branch(1, {})})})
    assert [run.branch for run in first.runs] == [Branch(0, {})]
    assert [run.branch for run in second.runs] == [Branch(-1, {4: Branch(1, {})})]
    assert second.runs[0].ticket == SIGNED
    assert second.runs[0].window_bytes == window_for(2, WINDOW_BYTES)


def test_a_downstream_that_claims_anothers_rank_is_ignored() -> None:
    honest, liar = Member(), Member()
    relayed, upstream = begin({honest: Branch(0, {}), liar: Branch(1, {})})
    relayed.output(liar, 0, frames.STDOUT, 0, b"forged")
    relayed.finished(liar, ended(0, Returned(0)))
    relayed.output(liar, 99, frames.STDOUT, 0, b"of nobody")
    relayed.finished(liar, ended(99, Returned(0)))
    relayed.output(Member(), 0, frames.STDOUT, 0, b"of a downstream without a part")
    assert upstream.sent == []
    relayed.finished(honest, ended(0, Returned(3)))
    assert upstream.outcomes == {0: Returned(3)}


def test_output_that_comes_after_the_end_of_its_rank_is_dropped_at_the_master() -> None:
    member = Member()
    relayed, upstream = begin({member: Branch(0, {})}, master=True)
    relayed.finished(member, ended(0, Returned(0)))
    relayed.output(member, 0, frames.STDOUT, 0, b"too late")
    assert upstream.sent == [Finished(JOB, 0, Returned(0))]


def test_the_master_takes_output_once_and_an_end_only_after_all_of_it() -> None:
    member = Member()
    relayed, upstream = begin({member: Branch(0, {})}, master=True)
    relayed.output(member, 0, frames.STDOUT, 0, b"abc")
    relayed.output(member, 0, frames.STDOUT, 5, b"after a gap")
    relayed.finished(member, ended(0, Returned(0), b"abcdef"))
    relayed.output(member, 0, frames.STDOUT, 1, b"bcdef")
    relayed.output(member, 0, frames.STDOUT, 0, b"abcdef")
    assert [data for _, _, data in upstream.outputs] == [b"abc", b"def"]
    assert upstream.outcomes == {}
    relayed.finished(member, ended(0, Returned(0), b"abcdef"))
    assert upstream.outcomes == {0: Returned(0)}


def test_a_rank_on_another_way_gets_the_job_once_more_and_the_former_way_does_not_count() -> None:
    former, other = Member(), Member()
    relayed, upstream = begin({former: Branch(-1, {1: Branch(0, {})})}, master=True)
    relayed.output(former, 0, frames.STDOUT, 0, b"abc")
    relayed.left(former)
    branch = Branch(0, {}, (3, 0))
    relayed.resume(job_of(Branch(-1, {9: branch})), {other: branch}, upstream)
    assert [run.branch for run in other.runs] == [branch]
    relayed.output(former, 0, frames.STDOUT, 3, b"late")
    relayed.output(other, 0, frames.STDOUT, 3, b"def")
    assert [data for _, _, data in upstream.outputs] == [b"abc", b"def"]
    relayed.release(RELEASE)
    assert (former.released, other.released) == (0, 1)


def test_what_a_relay_holds_is_dropped_when_its_parent_changes_and_its_children_can_send_again() -> None:
    member = Member()
    relayed, former = begin({member: Branch(0, {})}, window_bytes=MIN_WINDOW_BYTES)
    window = window_for(1, MIN_WINDOW_BYTES)
    relayed.output(member, 0, frames.STDOUT, 0, b"x" * window)
    relayed.stop()
    relayed.finished(member, ended(0, Returned(0), b"x" * window))
    upstream = Upstream()
    relayed.resume(job_of(Branch(0, {}), window_bytes=MIN_WINDOW_BYTES), {member: Branch(0, {})}, upstream)
    assert member.granted[frames.STDOUT] == window
    relayed.output(member, 0, frames.STDOUT, 0, b"x" * window)
    relayed.finished(member, ended(0, Returned(0), b"x" * window))
    assert sum(len(data) for _, _, data in upstream.outputs) == window
    assert upstream.sent[-1] == ended(0, Returned(0), b"x" * window)
    assert former.outcomes == {}


class Hasty(Member):
    """A program of this node: it sends at once what it may."""

    def __init__(self) -> None:
        super().__init__()
        self.told_before: list[int] = []

    def credit(self, job: int, stream: int, size: int) -> None:
        super().credit(job, stream, size)
        self.told_before.append(len(self.runs))


def test_a_program_hears_from_where_it_sends_again_before_it_may_send_more() -> None:
    """Else its output had a gap, the end of its rank waited for ever, and the node left its parent after 30 s."""
    member = Hasty()
    relayed, _ = begin({member: Branch(0, {})}, window_bytes=MIN_WINDOW_BYTES)
    window = window_for(1, MIN_WINDOW_BYTES)
    relayed.stop()
    relayed.output(member, 0, frames.STDOUT, 0, b"x" * window)
    run = job_of(Branch(0, {}), window_bytes=MIN_WINDOW_BYTES)
    relayed.resume(run, {member: Branch(0, {})}, Upstream())
    assert member.told_before
    assert set(member.told_before) == {2}


def test_the_outcome_of_a_rank_waits_for_its_output_that_waits_for_credit() -> None:
    member = Member()
    relayed, upstream = begin({member: Branch(0, {})}, window_bytes=4)
    for letter in (b"1", b"2", b"3", b"4", b"5"):
        relayed.output(member, 0, frames.STDOUT, 0, letter)
    relayed.finished(member, ended(0, Returned(0)))
    assert upstream.sent == [(0, frames.STDOUT, letter) for letter in (b"1", b"2", b"3", b"4")]
    relayed.credit_from_upstream(frames.STDOUT, 4)
    assert upstream.sent[4:] == [(0, frames.STDOUT, b"5"), ended(0, Returned(0))]


def test_output_of_a_lost_rank_that_had_come_is_passed_on_before_the_rank_is_called_lost() -> None:
    """It was dropped if its takers were slow: the master had been frozen for longer than a lease."""
    member, lost = Member(), Finished(JOB, 0, Lost("its lease has ended"))
    relayed, upstream = begin({member: Branch(0, {}), Member(): Branch(1, {})}, window_bytes=4, master=True)
    relayed.output(member, 0, frames.STDOUT, 0, b"1234")
    relayed.output(member, 0, frames.STDOUT, 4, b"last")
    relayed.lose(lost)
    relayed.lose(lost)
    assert upstream.outcomes == {}
    relayed.credit_from_upstream(frames.STDOUT, 4)
    relayed.output(member, 0, frames.STDOUT, 8, b"late")
    assert b"".join(data for _, _, data in upstream.outputs) == b"1234last"
    assert upstream.outcomes == {0: lost.outcome}
    relayed.lose(Finished(JOB, 1, Lost("it has said nothing")))
    assert set(upstream.outcomes) == {0, 1}


def test_a_rank_that_had_ended_when_its_node_was_lost_is_not_called_lost() -> None:
    """How it ended waited behind its output, which its takers took slowly."""
    member = Member()
    relayed, upstream = begin({member: Branch(0, {})}, window_bytes=4, master=True)
    relayed.output(member, 0, frames.STDOUT, 0, b"1234")
    relayed.output(member, 0, frames.STDOUT, 4, b"5678")
    relayed.finished(member, ended(0, Returned(3), b"12345678"))
    relayed.lose(Finished(JOB, 0, Lost("its lease has ended")))
    relayed.credit_from_upstream(frames.STDOUT, 4)
    assert upstream.outcomes == {0: Returned(3)}


def test_output_that_is_gone_is_said_although_other_output_of_its_rank_waits() -> None:
    """The log and the spool had no word of it then."""
    member = Member()
    relayed, upstream = begin({member: Branch(0, {})}, window_bytes=4, master=True)
    assert isinstance(relayed._receipt, JobReceipt)
    relayed._receipt.continued = True
    relayed.output(member, 0, frames.STDERR, 0, b"1234")
    relayed.output(member, 0, frames.STDERR, 4, b"5678")
    gone = RUN_KEYS[0].output_gone(SESSION, JOB, 0, frames.STDOUT, 9)
    relayed.output_gone(Member(), gone)
    relayed.output_gone(member, gone)
    relayed.output_gone(member, gone)
    assert upstream.sent[4:] == [gone]
    relayed.output(member, 0, frames.STDOUT, 9, b"9")
    assert upstream.outputs[4:] == [(0, frames.STDOUT, b"9")]


def test_a_downstream_that_leaves_gets_no_orders_and_what_it_said_is_passed_on() -> None:
    member, other = Member(), Member()
    relayed, upstream = begin({member: Branch(0, {1: Branch(1, {})}), other: Branch(2, {})}, window_bytes=4)
    relayed.finished(member, ended(1, Returned(0)))
    relayed.output(member, 0, frames.STDOUT, 0, b"1234")
    relayed.output(member, 0, frames.STDOUT, 4, b"last")
    relayed.left(member)
    relayed.left(member)
    relayed.credit_from_upstream(frames.STDOUT, 4)
    assert b"".join(data for _, _, data in upstream.outputs) == b"1234last"
    assert upstream.outcomes == {1: Returned(0)}
    relayed.obey(SendSignal(15), ORDER)
    relayed.release(RELEASE)
    assert (member.acts, member.released) == ([], 0)
    assert (other.acts, other.released) == ([(SendSignal(15), ORDER)], 1)


def test_standard_input_reaches_all_and_a_downstream_that_leaves_holds_back_none() -> None:
    quick, slow = Member(), Member()
    relayed, upstream = begin({quick: Branch(0, {}), slow: Branch(1, {})}, stdin=True)
    window = window_for(2, WINDOW_BYTES)
    piece = b"x" * quantum(window)
    for _ in range(window // len(piece) + 1):
        relayed.stdin(frames.InputBlock(0, b"", piece))
    relayed.credit_from_downstream(quick, window)
    assert b"".join(quick.input) == b"".join(slow.input) == b"x" * window
    relayed.left(slow)
    assert len(b"".join(quick.input)) == window + len(piece)
    credits_given = [sent for sent in upstream.sent if isinstance(sent, Credit)]
    assert {sent.stream for sent in credits_given} == {frames.STDIN}
    assert sum(sent.bytes for sent in credits_given) == window + len(piece)


def test_standard_input_of_a_job_without_any_is_dropped() -> None:
    member = Member()
    relayed, _ = begin({member: Branch(0, {})})
    relayed.stdin(frames.InputBlock(0, b"", b"uninvited"))
    assert member.input == []


def test_credit_for_a_stream_that_does_not_exist_changes_nothing() -> None:
    relayed, upstream = begin({Member(): Branch(0, {})})
    relayed.credit_from_upstream(9, 100)
    assert upstream.sent == []


def lost_by(member: Member, said: RankEnded, *output: bytes) -> str:
    """Why the master takes what a relay says for a lost program."""
    relayed, upstream = begin({member: Branch(-1, {1: Branch(0, {}), 2: Branch(1, {})})}, master=True)
    offset = 0
    for data in output:
        relayed.output(member, said.rank, frames.STDOUT, offset, data)
        offset += len(data)
    relayed.finished(member, said)
    outcome = upstream.outcomes[said.rank]
    assert isinstance(outcome, Lost)
    return outcome.reason


def test_an_outcome_that_its_node_has_not_signed_is_a_lost_one() -> None:
    genuine = ended(0, Returned(1)).signed
    assert genuine is not None
    changed = Signed(
        genuine.payload[:-70] + bytes([genuine.payload[-70] ^ 1]) + genuine.payload[-69:], genuine.signature
    )
    for said in (
        RankEnded(JOB, 0, changed), RankEnded(JOB, 0, Signed(b"", b"")), ended(0, Returned(0), by=1),
        RankEnded(JOB, 1, genuine),
    ):  # fmt: skip
        assert lost_by(Member(), said) == NOT_SIGNED


def test_an_outcome_of_another_job_or_rank_is_a_lost_one() -> None:
    assert lost_by(Member(), ended(0, Returned(0), job=JOB - 1)) == FOR_ANOTHER
    assert lost_by(Member(), RankEnded(JOB, 0, ended(1, Returned(0), by=0).signed)) == FOR_ANOTHER


def test_output_that_was_changed_or_added_to_makes_an_outcome_a_lost_one() -> None:
    assert lost_by(Member(), ended(0, Returned(0), b"true"), b"lie!") == OUTPUT_CHANGED
    assert lost_by(Member(), ended(0, Returned(0), b"true"), b"tr", b"ue and more") == OUTPUT_CHANGED


def test_a_node_that_did_not_get_its_job_by_the_word_of_the_node_above_has_not_ended() -> None:
    """That node can say so of a program which runs."""
    member = Member()
    relayed, upstream = begin({member: Branch(-1, {1: Branch(0, {}), 2: Branch(1, {})})}, master=True)
    relayed.finished(member, RankEnded(JOB, 0, None, "no room"))
    relayed.finished(member, ended(0, Returned(3)))
    assert upstream.outcomes == {0: Returned(3)}


def test_a_refusal_counts_although_output_came_on_another_way() -> None:
    member = Member()
    relayed, upstream = begin({member: Branch(0, {})}, master=True)
    relayed.output(member, 0, frames.STDOUT, 0, b"abc")
    relayed.finished(member, ended(0, Refused("it had ended")))
    assert upstream.outcomes == {0: Refused("it had ended")}


def test_a_node_on_a_new_way_hears_again_what_the_master_has() -> None:
    former, other = Member(), Member()
    relayed, upstream = begin({former: Branch(0, {})}, master=True, window_bytes=1 << 30)
    relayed.output(former, 0, frames.STDOUT, 0, b"x" * ACKNOWLEDGED_BYTES)
    assert former.acknowledged == {(0, frames.STDOUT): ACKNOWLEDGED_BYTES}
    relayed.left(former)
    branch = Branch(0, {}, (ACKNOWLEDGED_BYTES, 0))
    relayed.resume(job_of(Branch(-1, {9: branch})), {other: branch}, upstream)
    assert other.acknowledged == {(0, frames.STDOUT): ACKNOWLEDGED_BYTES}


def test_an_order_reaches_every_downstream() -> None:
    first, second = Member(), Member()
    relayed, _ = begin({first: Branch(0, {}), second: Branch(1, {})})
    act = SetTerminalSize(TerminalSize(24, 80))
    relayed.obey(act, ORDER)
    assert first.acts == second.acts == [(act, ORDER)]
