"""A rack master in the hands of a test: it has a genuine certificate, and passes on what it likes."""

from __future__ import annotations

import contextlib
import signal
import time
from subprocess import Popen
from typing import Any

from gproc.request.outcome import NotStarted, Outcome, Refused, Returned
from gproc.trust.identity import Identity
from gproc.wire import messages
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded, Release
from gproc.wire.messages import Granted, Route, Run, Signed
from tests.attack.peer import PING_S, Parent, end_in, join_as, ping, signed_end
from tests.system.cluster import Cluster, Slave


class Relay:
    """Node 1 with a genuine certificate, a real slave 1/2 below it, and no intention to relay what it is told."""

    def __init__(self, cluster: Cluster, identity: Identity, *, another_way: bool = False) -> None:
        """another_way: the slave can reach the master itself."""
        self.cluster = cluster
        self.identity = identity
        self.listener = Parent(identity)
        self.up, self.bulk = join_as(
            cluster.port, identity, 1, own_port=self.listener.port,
            dials=f"127.0.0.1:{cluster.port}" if another_way else "",
        )  # fmt: skip
        self.up.hear(Granted)
        self.adopt()

    def adopt(self) -> None:
        """Take a slave in, and give it the grant that the master makes for it."""
        self.slave: Slave = self.cluster.launch_slave("--id=2", parent=self.listener.port)
        self.down, self.down_bulk, self.join = self.listener.adopt(2)
        self.up.alive = self.down.alive = (self.up, self.down)
        self.up.say(messages.Arrived(Route((2,)), self.join.node))
        self.grant = self.up.hear(Granted).grant

    def pass_grant(self) -> None:
        self.down.say(Granted(Route(()), self.grant))
        self.slave.says(r"this is node 1/2$")

    def begin(self, *words: str, **options: Any) -> tuple[Popen[bytes], Run]:
        """A user's command, and what the master sends for it."""
        job = self.cluster.begin("e", *words, **options)
        return job, self.up.hear(Run)

    def order(self, run: Run, ticket: Signed | None = None) -> Outcome:
        """Have the slave run it; what it answers."""
        self.down.say(Run(run.job, run.size, ticket or run.ticket, Branch(0, {}), run.window_bytes))
        return self.hear_end()

    def hear_end(self) -> Outcome:
        """How the slave says that a program has ended.  NotStarted: it does not sign that it has not taken a job."""
        self.ended = self.down.hear(RankEnded)
        return end_in(self.ended).outcome if self.ended.signed is not None else NotStarted(self.ended.reason)

    def refusal(self, run: Run, ticket: Signed | None = None) -> str:
        """Order a job that the slave must refuse.  Returns its log line."""
        outcome = self.order(run, ticket)
        assert isinstance(outcome, Refused | NotStarted)
        line = self.slave.says(rf"refused from 127\.0\.0\.1:{self.listener.port}: (.*)").group(1)
        assert outcome.reason == line
        return line

    def let_go(self, run: Run) -> None:
        """The slave hears that the job is over, by the master's word."""
        self.tell(self.up.hear(Release))

    def answer(self, job: Popen[bytes], run: Run, ended: RankEnded | None = None) -> tuple[int, str, str]:
        """Tell the master what the slave has said, or something else; what the user sees.

        A rank that has not ended is lost by what this relay signs itself.
        """
        said = ended or self.ended
        if said.job != run.job or said.signed is None:
            said = signed_end(self.up.voice, run, 0, Returned(0))
        self.up.raw(b"".join(self.down.stdio)).say(said)
        self.down.stdio.clear()
        return self.cluster.finish(job)

    def tell(self, *said: messages.Message) -> None:
        """Say this to the slave, as its parent."""
        self.down.say(*said)

    def renew_lease(self) -> messages.Signed:
        """Pass the slave's next question for a lease on, and keep the answer."""
        question = self.down.hear(messages.AskLease)
        self.up.say(messages.AskLease(Route((2, *question.route)), question.nonce))
        return self.up.hear(messages.Leased).lease

    def pass_leases(self) -> None:
        """Renew the slave's lease until it leaves.  On a busy machine, some answers come too late to count."""
        with contextlib.suppress(AssertionError, OSError):
            while True:
                self.tell(messages.Leased(Route(()), self.renew_lease()))

    def idle(self, seconds: float) -> None:
        """Let time pass, as a rack master that lives."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            ping(self.up, self.down)
            time.sleep(min(PING_S, left_s))

    def close(self) -> None:
        """Both end, by their own word: a master waits for nodes that may be looking for another parent."""
        with contextlib.suppress(OSError):
            self.up.say(messages.Left(Route((2,)), "it has ended", ended=True), messages.Goodbye("the test is over"))
            self.up.hear_the_end()
        for peer in (self.up, self.bulk, self.down, self.down_bulk):
            peer.socket.close()
        self.listener.__exit__()
        if self.slave.process.poll() is None:
            self.cluster.end(self.slave, signal.SIGTERM)
