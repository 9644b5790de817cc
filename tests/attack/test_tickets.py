"""A slave runs only what the master has signed for it, once, and says why it refuses the rest."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gproc.request.outcome import Refused, Returned
from gproc.trust.identity import Identity
from gproc.trust.signing import Context, Signer
from gproc.wire import messages
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Granted, Route, Run, Signed
from tests.attack.peer import (
    Peer,
    end_in,
    join_as,
)
from tests.attack.relay import Relay

ECHO = ("-localbin", "=1/2", "/bin/echo", "done by the slave")


def refused(slave: Peer) -> str:
    """Why a slave did not take a job."""
    ended = slave.hear(RankEnded)
    if ended.signed is None:
        return ended.reason
    outcome = end_in(ended).outcome
    assert isinstance(outcome, Refused)
    return outcome.reason


def test_a_ticket_that_a_relay_passes_on_unchanged_is_taken(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    outcome = relay.order(run)
    assert outcome == Returned(0)
    assert relay.answer(job, run)[0] == 0


@pytest.mark.parametrize("changed", [b"/bin/echo", b"done by"])
def test_a_ticket_that_a_relay_has_changed_is_refused(relay: Relay, changed: bytes) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert changed in run.ticket.payload
    payload = run.ticket.payload.replace(changed, b"/bin/rm -r"[: len(changed)])
    line = relay.refusal(run, Signed(payload, run.ticket.signature))
    assert line.startswith("a forged ticket: ")
    relay.up.say(relay.ended)
    assert relay.order(run) == Returned(0)  # what the slave has not taken says nothing of the genuine one
    assert relay.answer(job, run)[0] == 0


def test_a_ticket_that_a_relay_has_signed_itself_is_refused(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    own = Signer(os.urandom(32)).sign_bytes(Context.TICKET, run.ticket.payload)
    assert relay.refusal(run, Signed(run.ticket.payload, own)).startswith("a forged ticket: ")
    relay.answer(job, run)


def test_a_grant_is_no_ticket(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert relay.refusal(run, relay.grant).startswith("a forged ticket: ")
    relay.answer(job, run)


def test_a_ticket_works_once(relay: Relay, tmp_path: Path) -> None:
    relay.pass_grant()
    runs = tmp_path / "runs"
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", f"echo once >> {runs}")
    assert relay.order(run) == relay.order(run) == Returned(0)
    assert relay.answer(job, run)[0] == 0
    relay.let_go(run)
    assert relay.refusal(run).startswith("a replayed ticket: ")
    assert runs.read_text() == "once\n"


def test_a_ticket_for_other_nodes_is_refused(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1", "/bin/echo", "for the relay alone")
    assert relay.refusal(run) == f"job {run.job} is for =1, not for this node, 1/2"
    relay.answer(job, run)


def test_a_genuine_ticket_does_not_come_as_another_job(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    renamed = Run(run.job + 1, run.size, run.ticket, run.branch, run.window_bytes)
    assert relay.refusal(renamed) == f"a ticket for job {run.job} that came as job {run.job + 1}"
    relay.answer(job, run)


def test_without_a_grant_no_ticket_is_taken(relay: Relay) -> None:
    job, run = relay.begin(*ECHO)
    assert "to which this slave does not belong" in relay.refusal(run)
    relay.answer(job, run)


def test_nothing_can_be_replayed_after_a_slaves_restart(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert relay.order(run) == Returned(0)
    relay.answer(job, run)
    old_grant = relay.grant
    relay.cluster.end(relay.slave, signal.SIGKILL)
    relay.adopt()
    relay.down.say(Granted(Route(()), old_grant))
    relay.slave.says(
        rf"refused from 127\.0\.0\.1:{relay.listener.port}: a grant for 1/2 that was made for another slave, "
        "or before this one's start"
    )
    relay.down.say(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    assert "to which this slave does not belong" in refused(relay.down)
    relay.pass_grant()
    relay.down.say(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    assert "a replayed ticket" in refused(relay.down)
    relay.slave.says(r"refused from \S+ a replayed ticket: number \d+ comes after number \d+")


def test_a_ticket_that_is_too_old_for_a_rack_master_is_passed_on_to_the_nodes_that_may_have_its_job(
    relay: Relay, this_node: Identity
) -> None:
    relay.pass_grant()
    job, run = relay.begin(*ECHO)
    assert relay.order(run) == Returned(0)
    assert relay.answer(job, run)[0] == 0
    relay.let_go(run)
    port = int(relay.slave.says(r"takes children on port (\d+)").group(1))
    below, bulk = join_as(port, this_node, 3)
    with below, bulk:
        relay.down.hear(messages.Arrived)
        relay.down.say(Run(run.job, run.size, run.ticket, Branch(0, {3: Branch(1, {})}), run.window_bytes))
        assert "a replayed ticket" in refused(relay.down)
        assert below.hear(Run).ticket == run.ticket
