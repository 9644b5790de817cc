"""A rack master that types, stops, ends and holds back what it should only pass on."""

from __future__ import annotations

import os
import signal

import pytest

from gproc.node.voice import Voice
from gproc.request.acts import SendSignal
from gproc.request.outcome import Killed, NotStarted, Outcome, Refused, Returned
from gproc.trust.orders import JobSigner, TreeEnds
from gproc.trust.signing import Context, Signer
from gproc.trust.ticket import LEAST_START_S
from gproc.wire import frames, messages
from gproc.wire.branch import Branch
from gproc.wire.endings import Release
from gproc.wire.messages import JobOrder, Route, Run, Shutdown
from tests.attack.peer import node_of, signed_end
from tests.attack.relay import Relay

STRANGER = Signer(os.urandom(32))
SHELL = ("-localbin", "=1/2", "/bin/sh")


def start_below(relay: Relay, run: Run) -> None:
    relay.tell(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))


def forge_input(relay: Relay, run: Run, block: frames.InputBlock) -> Outcome:
    start_below(relay, run)
    relay.down.raw(frames.input_frame(run.job, block))
    return relay.hear_end()


def test_a_relay_cannot_type_into_a_shell(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin(*SHELL, stdin=-1)
    forged = JobSigner(STRANGER, b"s" * 16, run.job).block(b"echo the relay was here\n")
    outcome = forge_input(relay, run, forged)
    assert isinstance(outcome, Refused)
    assert outcome.reason.startswith("a forged input: this cluster's master did not sign it")
    assert relay.down.output == b""
    relay.slave.says(rf"job {run.job}: a forged input: ")
    assert relay.answer(job, run)[0] == 125


def test_a_relay_cannot_repeat_or_shorten_what_a_user_types(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/cat", stdin=-1)
    assert job.stdin is not None
    job.stdin.write(b"once\n")
    job.stdin.flush()
    block = relay.up.hear_input(run.job)
    start_below(relay, run)
    for again in (block, block, block._replace(offset=5), block._replace(offset=5, data=b"")):
        relay.down.raw(frames.input_frame(run.job, again))
    outcome = relay.hear_end()
    assert isinstance(outcome, Refused)
    assert relay.down.output in (b"", b"once\n")
    relay.answer(job, run)


def test_input_without_a_signature_is_no_message_of_a_parent(relay: Relay) -> None:
    relay.pass_grant()
    relay.down.raw(frames.stdio_frame(1, frames.EVERY_RANK, frames.STDIN, 0, b"echo\n"))
    relay.down.hear_the_end()
    relay.slave.says(r"lost the parent at \S+: unexpected data of stream 0; trying to join again$")


def test_a_relay_cannot_send_signals(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", "echo up; read line; exit 7", stdin=-1)
    start_below(relay, run)
    order = JobSigner(STRANGER, b"s" * 16, run.job).order(SendSignal(signal.SIGTERM))
    relay.tell(JobOrder(run.job, order), JobOrder(run.job + 1, order))
    relay.slave.says(r"refused from \S+ a forged order: ")
    assert job.stdin is not None
    job.stdin.write(b"go\n")
    job.stdin.flush()
    relay.down.raw(frames.input_frame(run.job, relay.up.hear_input(run.job)))
    outcome = relay.hear_end()
    assert outcome == Returned(7)
    relay.answer(job, run)


def test_a_relay_cannot_end_a_program_by_saying_that_its_job_is_over(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", "read line; exit 7", stdin=-1)
    start_below(relay, run)
    relay.tell(Release(run.job))
    assert job.stdin is not None
    job.stdin.write(b"go\n")
    job.stdin.flush()
    relay.down.raw(frames.input_frame(run.job, relay.up.hear_input(run.job)))
    outcome = relay.hear_end()
    assert outcome == Returned(7)
    relay.answer(job, run)


def test_a_genuine_order_is_obeyed_once(relay: Relay) -> None:
    """A relay repeats a user's Ctrl-C: the program has it once."""
    relay.pass_grant()
    script = "trap 'echo got' INT; while :; do read line && echo $line; done"
    job, run = relay.begin("-localbin", "=1/2", "/bin/sh", "-c", script, stdin=-1)
    assert job.stdin is not None
    assert job.stdout is not None
    start_below(relay, run)
    relay.up.raw(frames.stdio_frame(run.job, 0, frames.STDOUT, 0, b"up\n"))
    assert job.stdout.readline() == b"up\n"  # now the client knows that it has a job, and passes signals on
    job.send_signal(signal.SIGINT)
    order = relay.up.hear(JobOrder)
    for line in (b"a\n", b"b\n", b"c\n"):  # what is echoed after it shows that the program had its time
        relay.tell(order)
        job.stdin.write(line)
        job.stdin.flush()
        relay.down.raw(frames.input_frame(run.job, relay.up.hear_input(run.job)))
    job.kill()
    job.communicate()
    relay.tell(relay.up.hear(JobOrder))
    relay.hear_end()
    assert relay.down.output.count(b"got\n") <= 1


def test_a_relay_cannot_end_a_slave_for_good(relay: Relay) -> None:
    relay.pass_grant()
    relay.tell(Shutdown("go away", STRANGER.sign(Context.END, TreeEnds(b"s" * 16))))
    relay.slave.says(r"refused from \S+ a forged end: ")
    relay.tell(Shutdown("the relay has ended"))
    relay.slave.says(r"lost the parent at \S+: the relay has ended; trying to join again$")
    relay.down, relay.down_bulk, _ = relay.listener.adopt(2)
    assert relay.slave.process.poll() is None


def test_a_relay_cannot_give_a_slave_another_place(relay: Relay) -> None:
    """The slave was started as number 2; the relay says that it is 3."""
    relay.pass_grant()
    relay.up.say(messages.Arrived(Route((3,)), relay.join.node))
    relay.tell(messages.Granted(Route(()), relay.up.hear(messages.Granted).grant))
    relay.up.say(messages.Arrived(Route((4,)), node_of(relay.identity, Voice())))
    relay.cluster.master.says(r"arrived: 1/4 ")
    assert relay.cluster.states().keys() == {"1", "1/2", "1/4"}


@pytest.mark.slow
def test_a_ticket_that_a_relay_holds_back_past_its_timeout_does_not_run(relay: Relay) -> None:
    relay.pass_grant()
    job, run = relay.begin("--timeout", "1", *SHELL, "-c", "echo late")
    relay.idle(LEAST_START_S + 1)  # this is the attack
    outcome = relay.order(run)
    assert isinstance(outcome, Refused)
    assert "something held it back" in outcome.reason
    relay.answer(job, run)


@pytest.mark.slow
def test_a_job_whose_client_died_ends_although_a_relay_swallows_the_order(relay: Relay) -> None:
    relay.pass_grant()
    relay.tell(messages.Leased(Route(()), relay.renew_lease()))
    job, run = relay.begin(*SHELL, "-c", "echo up; exec sleep 1000")
    start_below(relay, run)
    job.kill()
    job.communicate()
    relay.up.hear(JobOrder)
    relay.tell(messages.Leased(Route(()), relay.renew_lease()))
    assert relay.hear_end() == Killed(signal.SIGKILL, started=True)
    relay.slave.says(rf"job {run.job}: it has ended for the master, so it ends here$")


def test_a_relay_cannot_begin_a_job_on_a_node_before_its_turn(relay: Relay) -> None:
    """Node 1 has begun, so the relay has ticket and turn; 1/2 waits until it has ended."""
    relay.pass_grant()
    job, run = relay.begin("-localbin", "--fanout=1", "1/2", "/bin/sh", "-c", "echo here")
    assert run.branch == Branch(0, {})
    for turn in (None, run.turn):
        relay.tell(Run(run.job, run.size, run.ticket, Branch(1, {}), run.window_bytes, turn=turn))
        refused = relay.hear_end()
        assert refused == NotStarted(f"job {run.job} runs on some nodes at a time, and it is not the turn of 1/2")
    relay.up.say(signed_end(relay.up.voice, run, 0, Returned(0)))
    again = relay.up.hear(Run)
    assert again.branch.children[2].rank == 1
    relay.tell(Run(run.job, run.size, again.ticket, Branch(1, {}), run.window_bytes, turn=again.turn))
    outcome = relay.hear_end()
    assert (outcome, relay.down.output) == (Returned(0), b"here\n")
    job.kill()
    job.communicate()
