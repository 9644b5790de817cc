"""What a slave takes from its parent, from a former one, and from one that does not know it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

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
    """What nodes below said of such a job went nowhere then, and nobody sent it to them again."""
    ended: list[str] = []
    lease = SimpleNamespace(ends_s=0.0, lease_s=12.0)
    verifier: Any = SimpleNamespace(lease=lease)
    uplink: Any = SimpleNamespace(abandon=ended.append)
    Leasing(verifier, cast(Any, None), uplink, lambda: True)._ends()
    Leasing(verifier, cast(Any, None), uplink, lambda: False)._ends()
    assert len(ended) == 1
