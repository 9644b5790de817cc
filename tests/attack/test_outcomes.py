"""A rack master with a genuine certificate that says of the programs below it what did not happen."""

from __future__ import annotations

import os
from typing import Final

import pytest
from msgspec.structs import replace

from gproc.node.voice import Voice
from gproc.relay.receipt import FOR_ANOTHER, NOT_SIGNED, OUTPUT_CHANGED
from gproc.request.outcome import Returned
from gproc.trust.signing import Context, Signer
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.endings import Acknowledged, RankEnded, Release
from gproc.wire.messages import Run, Signed
from tests.attack.peer import signed_end
from tests.attack.relay import Relay

FAILS: Final = ("-localbin", "=1/2", "/bin/sh", "-c", "exit 3")
STRANGER: Final = Signer(os.urandom(32))


def lost(relay: Relay, run: Run, seen: tuple[int, str, str], reason: str) -> None:
    """The user and the master's log have the place and the cause."""
    assert seen == (125, "", f"gproc: =1/2: lost: {reason}\n")
    relay.cluster.master.says(rf"job {run.job}: 1/2 is lost: {reason}$")


def test_a_relay_cannot_change_an_exit_status(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*FAILS)
    assert relay.order(run) == Returned(3)
    genuine = relay.ended.signed
    assert genuine is not None
    better = Signed(genuine.payload.replace(b"\x92\x01\x03", b"\x92\x01\x00"), genuine.signature)
    assert better != genuine
    lost(relay, run, relay.answer(job, run, RankEnded(run.job, 0, better)), NOT_SIGNED)


def test_a_relay_cannot_sign_an_exit_status_itself(relay: Relay) -> None:
    """Neither with the key with which it signs for itself, nor with a key that has no certificate."""
    relay.pass_grant()
    for voice in (relay.up.voice, Voice()):
        job, run = relay.begin(*FAILS)
        assert relay.order(run) == Returned(3)
        lost(relay, run, relay.answer(job, run, signed_end(voice, run, 0, Returned(0))), NOT_SIGNED)


def test_a_relay_cannot_say_of_a_program_that_runs_that_its_job_did_not_get_there(relay: Relay) -> None:
    """The program was called lost, and ran on beside the one that was started in its place."""
    relay.pass_grant()
    job, run = relay.begin(*FAILS)
    relay.up.say(RankEnded(run.job, 0, None, "no"))
    assert relay.order(run) == Returned(3)
    assert relay.answer(job, run) == (3, "", "gproc: =1/2: exit status 3\n")


def test_a_relay_cannot_give_an_old_jobs_outcome_for_a_new_ones(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/true")
    assert relay.order(run) == Returned(0)
    old = relay.ended
    assert relay.answer(job, run)[0] == 0
    job, run = relay.begin(*FAILS)
    assert relay.order(run) == Returned(3)
    lost(relay, run, relay.answer(job, run, replace(old, job=run.job)), FOR_ANOTHER)


def test_a_relay_cannot_give_one_nodes_outcome_for_anothers(relay: Relay) -> None:
    """Its own rank is 0, and that of 1/2 is 1.  It tells 1/2 that its rank is 0, too."""
    relay.pass_grant()
    job, run = relay.begin("-localbin", "1/2", "/bin/sh", "-c", "exit 3")
    assert run.branch.ranks() == [0, 1]
    relay.tell(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    assert relay.hear_end() == Returned(3)
    own = signed_end(relay.up.voice, run, 0, Returned(0))
    relay.up.say(own, replace(relay.ended, rank=1))
    assert relay.cluster.finish(job) == (125, "", f"gproc: =1/2: lost: {FOR_ANOTHER}\n")
    job, run = relay.begin("-localbin", "1/2", "/bin/sh", "-c", "exit 3")
    relay.tell(Run(run.job, run.size, run.ticket, Branch(1, {}), run.window_bytes))
    assert relay.hear_end() == Returned(3)
    own = signed_end(relay.up.voice, run, 0, Returned(0))
    relay.up.say(own, replace(own, rank=1))
    assert relay.cluster.finish(job) == (125, "", f"gproc: =1/2: lost: {NOT_SIGNED}\n")


def test_a_relay_cannot_change_output_and_stay_unnoticed(relay: Relay) -> None:
    relay.pass_grant()
    for forged in (b"lie!", b"true and more"):
        job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", "printf true")
        assert relay.order(run) == Returned(0)
        relay.down.stdio.clear()
        relay.up.raw(frames.stdio_frame(run.job, 0, frames.STDOUT, 0, forged))
        status, stdout, summary = relay.answer(job, run)
        assert (status, stdout, summary) == (125, forged.decode(), f"gproc: =1/2: lost: {OUTPUT_CHANGED}\n")


def test_a_relay_cannot_have_a_node_throw_away_what_the_master_lacks(relay: Relay) -> None:
    """It says that the master has all the output and that the job is over; then comes another way to the node."""
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", "printf kept; exit 3")
    assert relay.order(run) == Returned(3)
    relay.down.stdio.clear()
    word = STRANGER.sign_bytes(Context.ACKNOWLEDGEMENT, b"x")
    relay.tell(Acknowledged(run.job, 0, frames.STDOUT, 4), Acknowledged(run.job, 0, frames.STDOUT, 4, word))
    relay.slave.says(r"refused from \S+ a forged acknowledgement: ", times=2)
    relay.tell(Release(run.job), Release(run.job, STRANGER.sign_bytes(Context.RELEASE, b"x")))
    relay.slave.says(r"refused from \S+ a forged release: ", times=2)
    assert relay.order(run) == Returned(3)  # the same once more, from its first byte, as on another way
    assert relay.answer(job, run) == (3, "kept", "gproc: =1/2: exit status 3\n")


def test_a_relay_cannot_have_a_node_refuse_a_job_that_it_runs_afterwards(relay: Relay) -> None:
    """The node signs that it does not take a job only if it never will."""
    relay.pass_grant()
    job, first = relay.begin("-localbin", "=1/2", "/bin/true")
    assert relay.order(first) == Returned(0)
    assert relay.answer(job, first)[0] == 0
    relay.let_go(first)
    job, run = relay.begin(*FAILS)
    for ticket in (first.ticket, Signed(run.ticket.payload, bytes(64)), relay.grant):
        relay.order(run, ticket)
        assert relay.ended.signed is None
    assert relay.order(run) == Returned(3)
    assert relay.answer(job, run)[0] == 3


@pytest.mark.master("--orphan-timeout=12")
@pytest.mark.parametrize("dropped", ["the outcome", "the output before it"])
def test_a_node_whose_parent_keeps_what_it_says_finds_another_way(relay_beside_a_way: Relay, dropped: str) -> None:
    """All else is relayed, so the node's lease does not end.  The master gets both from the node itself."""
    relay = relay_beside_a_way
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", "printf whole; exit 3")
    assert relay.order(run) == Returned(3)
    if dropped == "the output before it":
        relay.up.say(relay.ended)
    relay.pass_leases()
    relay.slave.says(rf"lost the parent at \S+: it does not pass on how job {run.job} has ended here; ")
    assert relay.cluster.finish(job) == (3, "whole", "gproc: =1/2: exit status 3\n")
