"""What the master takes of a job, and what the next master takes after a crash: only what the nodes themselves say."""

from __future__ import annotations

import pytest
from blake3 import blake3
from msgspec.structs import replace

from gproc.relay.delivery import ACKNOWLEDGED_BYTES, StreamDigest
from gproc.relay.receipt import GONE_NOT_SIGNED, OUTPUT_CHANGED, JobReceipt, RunOfNode, WayRefusal
from gproc.request.outcome import Lost, Outcome, Returned
from gproc.request.spec import Request
from gproc.trust.orders import JobOrders, JobSigner
from gproc.trust.outcomes import RunKey, SignedEnd
from gproc.trust.signing import Signer
from gproc.wire.endings import OutputGone, RankEnded
from gproc.wire.frames import STDERR, STDOUT

MASTER = Signer(b"m" * 32)
SESSION, NONCE, JOB = b"s" * 16, b"n" * 16, 7
NODE, STRANGER = RunKey(), RunKey()
BEFORE, AFTER = b"before the crash " * 1000, b"after it " * 1000
NOTHING = blake3(b"").digest()


def receipt() -> JobReceipt:
    signer = JobSigner(MASTER, SESSION, JOB, 1)
    return JobReceipt(JOB, Request(nodes=".", argv=(b"x",)), signer, [RunOfNode(NONCE, NODE.public)])


def after_a_crash(*, whole: bool = True) -> JobReceipt:
    """The former master had `BEFORE`."""
    digest = StreamDigest()
    digest.add(BEFORE)
    found = receipt()
    found.continued = True
    found.go_on(0, STDOUT, len(BEFORE), digest if whole else None)
    found.keep_all({(0, STDOUT): len(BEFORE)})
    return found


def end(key: RunKey = NODE, output: bytes = BEFORE + AFTER, outcome: Outcome | None = None) -> RankEnded:
    digests = (blake3(output).digest(), NOTHING)
    signed = key.sign(SignedEnd(SESSION, JOB, 0, 1, outcome or Returned(3), (len(output), 0), digests))
    return RankEnded(JOB, 0, signed)


def outcome_of(found: JobReceipt, ended: RankEnded) -> Outcome | None:
    said = found.end(ended)
    return None if said is None else said.outcome


def test_after_a_crash_the_rest_of_the_output_and_the_end_are_taken() -> None:
    found = after_a_crash()
    assert found.take(0, STDOUT, 0, BEFORE) == len(BEFORE)
    assert outcome_of(found, end()) is None
    assert found.take(0, STDOUT, len(BEFORE) - 10, BEFORE[-10:] + AFTER) == 10
    assert outcome_of(found, end()) == Returned(3)


@pytest.mark.parametrize("whole", [True, False])
def test_a_relay_cannot_say_after_a_crash_how_a_program_ended(whole: bool) -> None:
    found = after_a_crash(whole=whole)
    found.take(0, STDOUT, len(BEFORE), AFTER)
    assert isinstance(outcome_of(found, end(STRANGER)), Lost)


def test_output_that_a_relay_changes_after_a_crash_is_noticed() -> None:
    found = after_a_crash()
    found.take(0, STDOUT, len(BEFORE), AFTER[::-1])
    assert outcome_of(found, end()) == Lost(OUTPUT_CHANGED)


def test_output_of_which_part_is_not_kept_is_not_compared_and_its_end_counts() -> None:
    found = after_a_crash(whole=False)
    found.take(0, STDOUT, len(BEFORE), AFTER)
    assert outcome_of(found, end()) == Returned(3)


def test_what_is_kept_is_acknowledged_when_it_is_on_the_disk_and_not_before() -> None:
    found = after_a_crash()
    data = b"x" * ACKNOWLEDGED_BYTES
    found.take(0, STDOUT, len(BEFORE), data)
    assert found.acknowledgement(0, STDOUT) is None
    again = found.acknowledgement(0, STDOUT, again=True)
    assert again is not None
    assert again.bytes == len(BEFORE)
    found.keep(0, STDOUT, len(BEFORE) + len(data))
    taken = found.acknowledgement(0, STDOUT)
    assert taken is not None
    assert taken.bytes == len(BEFORE) + len(data)
    JobOrders(MASTER.public_key, SESSION, JOB, NONCE).check_taken(taken)


def test_a_job_goes_on_after_a_crash_only_if_all_that_its_nodes_have_let_go_of_is_on_the_disk() -> None:
    """Its client had left it just then: the next master waited for output that its node had thrown away."""
    found = receipt()
    data = b"x" * (ACKNOWLEDGED_BYTES + 5)
    found.take(0, STDOUT, 0, data)
    found.take(0, STDERR, 0, b"little")
    assert found.acknowledgement(0, STDOUT) is not None
    assert not found.is_kept
    found.keep_all({})
    found.keep(0, STDERR, len(b"little"))
    found.keep(0, STDOUT, len(data) - 1)
    assert not found.is_kept
    found.keep(0, STDOUT, len(data))
    assert found.is_kept


REFUSED = RankEnded(JOB, 0, None, "its grant is still on its way")
WHY = "the job did not get there: its grant is still on its way"


@pytest.mark.parametrize("again", [False, True])
def test_a_way_that_does_not_take_a_job_says_nothing_of_a_node_that_may_have_it(again: bool) -> None:
    """A node without a grant did not take its job, and did when it came again.  It was called lost, and ran.

    So was one that a rack master had passed the job on to before it said that it had not, the first time too.
    """
    found = receipt()
    if again:
        found.sent_again.add(0)
    assert outcome_of(found, REFUSED) is None
    assert [found.refusal(0) for _ in range(2)] == [WayRefusal(WHY, 1), None]
    found.take(0, STDOUT, 0, AFTER)
    assert outcome_of(found, end(output=AFTER)) == Returned(3)


def test_a_node_that_says_itself_that_its_first_job_did_not_get_there_is_believed() -> None:
    found = receipt()
    found.speak_for_themselves.add(0)
    assert outcome_of(found, REFUSED) == Lost(WHY)
    assert found.not_there == {0}


def test_what_a_way_refuses_in_turn_is_counted_until_it_takes_the_job() -> None:
    found = receipt()
    for times in (1, 2, 3):
        assert outcome_of(found, REFUSED) is None
        assert found.refusal(0) == WayRefusal(WHY, times)
    assert found.refusal(0) is None
    assert outcome_of(found, REFUSED) is None
    assert found.refusal(0) == WayRefusal(WHY, 1)


def gone(size: int, *, key: RunKey = NODE, rank: int = 0, stream: int = STDOUT) -> OutputGone:
    return replace(key.output_gone(SESSION, JOB, 0, STDOUT, size), rank=rank, stream=stream)


def test_output_that_its_node_has_let_go_of_and_no_disk_has_is_missing_and_its_rank_goes_on() -> None:
    """It was called lost while its program ran.  So was a rank whose node had everything, and came back late."""
    found, missing = after_a_crash(), 5
    assert found.take(0, STDOUT, len(BEFORE) + missing, AFTER) == len(AFTER)
    assert found.skip(gone(len(BEFORE) + missing))
    assert not found.skip(gone(len(BEFORE) + missing))
    assert found.take(0, STDOUT, len(BEFORE) + missing, AFTER) == 0
    assert found.said(0) == (len(BEFORE) + missing + len(AFTER), 0)
    assert outcome_of(found, end(output=BEFORE + b"x" * missing + AFTER)) == Returned(3)
    assert not found.skip(gone(1 << 40))


@pytest.mark.parametrize(
    "word",
    [gone(10**6, key=STRANGER), gone(10**6, rank=1), gone(10**6, rank=9), gone(10**6, stream=STDERR), gone(7)],
)
def test_a_relay_cannot_make_output_be_missing(word: OutputGone) -> None:
    found = after_a_crash()
    assert not found.skip(word)
    assert found.said(0) == (len(BEFORE), 0)


def test_the_log_says_once_that_somebody_makes_up_what_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    found = after_a_crash()
    for _ in range(3):
        found.skip(gone(10**6, key=STRANGER))
    assert [record.getMessage() for record in caplog.records] == [f"job {JOB}: rank 0: {GONE_NOT_SIGNED}"]


def test_nothing_is_missing_if_no_master_has_crashed() -> None:
    """Then the master has all that it has told nodes to let go of."""
    found = receipt()
    assert not found.skip(gone(5))
    assert found.take(0, STDOUT, 5, AFTER) == len(AFTER)
