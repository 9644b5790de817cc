"""What a slave accepts from its parent, from a former parent, and from a parent that does not know it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gproc.node.detour import CONFIRM_S, FRESH_S, Detour
from gproc.node.forsaken import Forsaken
from gproc.node.leasing import Leasing
from gproc.node.taking import JobTaker
from gproc.node.uplink import Uplink
from gproc.relay.membership import SlaveState
from gproc.slave import Slave
from gproc.trust.signing import TicketRefused
from gproc.wire.branch import Branch
from gproc.wire.frames import STDIN, InputBlock
from gproc.wire.messages import Credit, Run, Signed


class Sent:
    """A link that remembers what is sent."""

    def __init__(self) -> None:
        self.messages: list[object] = []
        self.ended = ""

    def send(self, message: object) -> None:
        self.messages.append(message)

    def abort(self, reason: str) -> None:
        self.ended = reason


def slave_of(parent: Sent, relayed: Any) -> Any:
    return SimpleNamespace(_uplink=SimpleNamespace(is_open=lambda link: link is parent), relayed_jobs=relayed)


def test_input_of_a_job_that_was_refused_here_is_given_back_so_that_other_nodes_get_theirs() -> None:
    parent = Sent()
    block = InputBlock(0, b"", b"abc")
    Slave.on_input(slave_of(parent, {}), cast(Any, parent), 7, block)
    Slave.on_input(slave_of(parent, {}), cast(Any, parent), 7, block._replace(data=b""))
    assert parent.messages == [Credit(7, STDIN, 3)]


def test_what_a_former_parent_still_sends_as_input_counts_for_nothing() -> None:
    """It counted in the window of the new one, which sent the same once more, and the slave left it for that."""
    taken: list[InputBlock] = []
    slave = slave_of(Sent(), {7: SimpleNamespace(stdin=taken.append)})
    former = Sent()
    Slave.on_input(slave, cast(Any, former), 7, InputBlock(0, b"", b"abc"))
    assert (taken, former.messages) == ([], [])


def test_a_node_without_a_lease_and_with_nobody_below_signs_that_a_job_will_not_begin() -> None:
    """It did not sign it, was called lost, and began when the job came once more."""
    never: list[object] = []

    def refuse(ticket: object) -> None:
        raise TicketRefused("no lease")

    verifier: Any = SimpleNamespace(
        admit=refuse, read=lambda signed: SimpleNamespace(job=7), never_admit=never.append, session=b"s"
    )
    voice: Any = SimpleNamespace(refused=lambda session, run, reason: ("signed", run.job, reason))
    uplink: Any = SimpleNamespace(where="1")
    taker = JobTaker(verifier, voice, cast(Any, None), cast(Any, SimpleNamespace()), uplink)
    parent = Sent()
    run = Run(7, 1, Signed(b"", b""), Branch(0, {}), 1 << 20)
    assert taker.take(cast(Any, parent), run) is None
    assert parent.messages == [("signed", 7, "no lease")]
    assert len(never) == 1


def test_an_adopted_slave_that_gets_no_place_goes_back_to_its_own_parent() -> None:
    """The next master knew nothing of it, gave it none, and it waited for ever."""
    asked: list[str] = []
    uplink: Any = SimpleNamespace(
        control=Sent(), membership=SimpleNamespace(state=SlaveState.JOINED, at_home=False), go_home=asked.append
    )
    Uplink._look_for_place(uplink, uplink.control)
    assert len(asked) == 1
    for other in (Sent(), None):
        Uplink._look_for_place(uplink, cast(Any, other))  # that parent was left meanwhile
    uplink.membership.state = SlaveState.GRANTED
    Uplink._look_for_place(uplink, uplink.control)
    assert len(asked) == 1


def test_a_node_that_lets_go_of_jobs_as_its_lease_ends_leaves_its_parent_which_may_have_sent_them_just_now() -> None:
    """What nodes below said of such a job was lost then, and the job was not sent to them again."""
    ended: list[str] = []
    lease = SimpleNamespace(ends_s=0.0, lease_s=12.0)
    verifier: Any = SimpleNamespace(lease=lease)
    uplink: Any = SimpleNamespace(abandon=ended.append)
    Leasing(verifier, cast(Any, None), uplink, lambda: True, lambda: None)._ends()
    Leasing(verifier, cast(Any, None), uplink, lambda: False, lambda: None)._ends()
    assert len(ended) == 1


def test_a_master_that_was_asked_nothing_is_not_silent() -> None:
    """A slave with --exit-after=12 ended after 12 s in a healthy tree, because it asks for a lease every 15 s."""

    async def run() -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        forsaken = Forsaken(0.05, ended.put_nowait)
        forsaken.waits()
        forsaken.heard()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ended.get(), 0.2)
        forsaken.waits()
        forsaken.waits()  # asked again: it is silent since the first time
        assert "(--exit-after)" in await ended.get()
        forsaken.stop()

    asyncio.run(run())


def test_a_node_dials_the_master_once_its_parent_is_cut_off_and_then_less_and_less() -> None:
    rule = Detour()
    assert not rule.may_try(0.0, overdue=False)
    assert [rule.told(at_s) for at_s in (1.0, 2.0, 5.0)] == [True, False, True]
    tries = [at_s for at_s in range(1, 60) if rule.told(at_s) in (True, False) and rule.may_try(at_s, overdue=False)]
    assert tries == [1, 3, 7, 15, 30, 45]
    assert not rule.may_try(59.0 + FRESH_S + 0.1, overdue=False)
    assert Detour().may_try(0.0, overdue=True)


def test_a_node_is_cut_off_if_its_parent_is_and_the_master_does_not_answer_it_either() -> None:
    rule = Detour()
    rule.told(0.0)
    assert not rule.is_cut_off(0.0)
    rule.failed(answered=True)  # the master's machine refuses: it has crashed, and racks stay together
    assert not rule.is_cut_off(0.0)
    rule.failed(answered=False)
    assert rule.is_cut_off(FRESH_S)
    assert not rule.is_cut_off(FRESH_S + 0.1)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_parent_that_has_just_found_out_is_left_at_once_and_any_other_may_still_find_a_way(depth: int) -> None:
    told, again, overdue = Detour(), Detour(), Detour()
    told.told(0.0)
    again.told(0.0)
    again.failed(answered=True)
    found = [rule.reached(depth, 0.0) for rule in (told, again, overdue)]
    assert found == [0.0, CONFIRM_S * (depth - 1), CONFIRM_S * (depth - 1)]
