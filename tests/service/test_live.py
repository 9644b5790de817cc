"""A running job at the master."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from gproc.nodespec import Place, format_path
from gproc.relay.receipt import JobReceipt, RunOfNode
from gproc.request.outcome import Killed, NotStarted, Outcome, Returned
from gproc.request.spec import Caller, Request
from gproc.service.job_windows import SPOOL_WINDOW_BYTES
from gproc.service.jobs import JobRecord
from gproc.service.live import LiveJob
from gproc.service.outofreach import UnreachedRanks
from gproc.service.registry import Node, Registry
from gproc.service.running import RunningJobs
from gproc.service.service import JobService
from gproc.service.turns import JobTurns
from gproc.service.ways import TRIES, JobWays
from gproc.tree import branches
from gproc.trust.lease import boottime_s
from gproc.trust.orders import SignedJob
from gproc.wire.branch import Branch
from gproc.wire.credit import quantum
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Finished, NodeInfo, Route, Run, Signed
from tests.loop import run


def test_a_block_of_input_fits_what_is_left_of_the_windows_of_a_detached_job() -> None:
    """It could be as large as such a window.  If a node had kept some credit back, it never had room for it again."""
    live: Any = SimpleNamespace(job=SimpleNamespace(window_bytes=SPOOL_WINDOW_BYTES))
    LiveJob.fit_input(cast(LiveJob, live), Branch(-1, branches({Route((1,)): 0})))
    assert live.block_bytes <= quantum(SPOOL_WINDOW_BYTES)


def fail(live: LiveJob) -> None:
    live.send(Finished(1, 0, Returned(1)))


def kill(live: LiveJob) -> None:
    live.signal(9)


@pytest.mark.parametrize(("drop", "kind"), [(fail, NotStarted), (kill, Killed)])
def test_a_node_that_will_not_have_its_turn_does_not_begin_when_another_way_leads_to_it(
    drop: Any, kind: type[Outcome]
) -> None:
    """It was told as not started, and ran."""
    request = Request(nodes="1-3", argv=(b"x",), fanout=2, max_fail=1)
    job = JobRecord(1, Caller(0, 0, ()), request, [Place((id,)) for id in (1, 2, 3)], 0.0)
    runs = [RunOfNode(b"%d" % rank, b"") for rank in range(3)]
    signer: Any = SimpleNamespace(order=lambda act: Signed(b"", b""))
    live = LiveJob(job, runs, SignedJob(Signed(b"", b""), signer), None, lambda _: None)
    assert job.window is not None
    assert job.window.take(lambda rank: True) == [0, 1]
    drop(live)
    assert isinstance(job.outcomes[2], kind)

    sent: list[int] = []

    def pass_again(relayed: object, run: Run, *_: object) -> list[Any]:
        sent.extend(run.branch.ranks())
        return []

    master: Any = SimpleNamespace(pass_again=pass_again, sign_turn=lambda job, ranks: Signed(b"", b""))
    ways = JobWays(master, RunningJobs({1: live}), lambda _: None)
    for rank in (1, 2):
        node = SimpleNamespace(nonce=b"%d" % rank, route=Route((rank + 1,)), place=job.places[rank])
        ways._returned[node.nonce] = cast(Node, node)
    ways._go_on()
    assert sent == [1]


def test_what_a_job_is_ordered_while_the_turn_of_a_node_is_written_down_reaches_that_node() -> None:
    """A job was killed in those milliseconds, and its next program ran on until its node's next lease."""
    request = Request(nodes="1", argv=(b"x",), fanout=1)
    live: Any = SimpleNamespace(orders=[("old", "order")], rank_on={b"n": 0})
    live.job, live.relayed = JobRecord(1, Caller(0, 0, ()), request, [Place((1,))], 0.0), None
    obeyed: list[tuple[str, str]] = []
    downstream = SimpleNamespace(obey=lambda job, act, order: obeyed.append((act, order)))
    master: Any = SimpleNamespace(pass_again=lambda *_: [downstream])

    async def written() -> None:
        live.orders.append(("kill", "order"))

    book: Any = SimpleNamespace(note=lambda _: None, keeper=SimpleNamespace(written=written))
    turns = JobTurns(master, book)
    turns.ways = cast(JobWays, SimpleNamespace(run_of=lambda live, nodes: None))
    run(turns._note(live, [cast(Node, SimpleNamespace(nonce=b"n", place=Place((1,))))]))
    assert obeyed == [("kill", "order")]


def test_a_rank_that_another_run_of_its_slave_has_begun_is_not_given_up_with_the_run_that_was_forgotten() -> None:
    """The master had crashed, the old run had left meanwhile, and the new one was called lost while it ran."""
    lost: list[int] = []
    live: Any = SimpleNamespace(rank_on={b"old": 0, b"new": 1}, lose=lambda rank, reason: lost.append(rank))
    ways = JobWays(cast(Any, None), RunningJobs(), lambda _: None)
    ways._give_up(live, {b"old": 0, b"left": 1})
    assert lost == [0]


def test_a_node_that_is_reached_while_its_turn_is_written_down_does_not_begin_before_it_is_on_the_disk() -> None:
    """If the master crashed then, the next one took what ran for what waited."""
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1", argv=(b"x",), fanout=1), [Place((1,))], 0.0)
    assert job.window is not None
    assert job.window.take(lambda rank: True) == [0]
    found: list[int] = []
    unreached = SimpleNamespace(given_up=set(), find=found.append)
    live: Any = SimpleNamespace(job=job, unreached=unreached, rank_on={b"n": 0}, orders=[])
    live.received = SimpleNamespace(not_there=set())
    ways = JobWays(cast(Any, SimpleNamespace()), RunningJobs({1: live}), lambda _: None)
    ways._returned = {b"n": cast(Node, SimpleNamespace(nonce=b"n", place=Place((1,))))}
    job.window.noted = {0}
    ways._go_on()  # its master can send nothing: it would fail
    assert found == [0]


class RefusedJob:
    """A job on 1 and 2.  The way to 1 refuses it when the test says so.  sent, obeyed, lost: what happens."""

    def __init__(self) -> None:
        self.sent: list[Run] = []
        self.obeyed: list[str] = []
        self.lost: list[tuple[int, str]] = []
        self.is_lost = asyncio.Event()
        self.nodes = [Node(NodeInfo("h", "h:1", nonce, "", 0.0), Place((id,)), Route((id,))) for nonce, id in NODES]
        live: Any = SimpleNamespace(rank_on={b"a": 0, b"b": 1}, orders=[("kill", None)], window_bytes=1)
        self.live = live
        request, places = Request(nodes="1-2", argv=(b"x",)), [Place((1,)), Place((2,))]
        self.live.job = JobRecord(1, Caller(0, 0, ()), request, places, 0.0)
        runs = [RunOfNode(nonce, b"") for nonce, _ in NODES[:2]]
        self.live.received = JobReceipt(1, self.live.job.request, cast(Any, None), runs)
        self.live.relayed, self.live.said = SimpleNamespace(ticket=Signed(b"", b"")), lambda rank: (7, 0)
        self.live.unreached = UnreachedRanks(self.live.job, lambda told: None, lambda held: None)
        self.live.lose = self._lose
        master: Any = SimpleNamespace(pass_again=self._pass_again)
        self.ways = JobWays(master, RunningJobs({1: live}), lambda _: None)

    def _lose(self, rank: int, reason: str) -> None:
        self.lost.append((rank, reason))
        self.is_lost.set()

    def _pass_again(self, relayed: object, run: Run, *_: object) -> list[Any]:
        self.sent.append(run)
        return [SimpleNamespace(obey=lambda job, act, order: self.obeyed.append(act))]

    def refuse(self) -> None:
        assert self.live.received.end(RankEnded(1, 0, None, "no")) is None

    def ask(self) -> list[tuple[int, ...]]:
        """Each node asks for a lease, and the master's clock shows the same.  The jobs that each may run."""
        found = []
        for node in self.nodes:
            node.lease_ends_s = boottime_s() + 0.1
            found.append(self.ways.jobs_for(node))
            self.ways.asked(node)
        return found


NODES: Final = ((b"a", 1), (b"b", 2), (b"c", 3))


def test_a_node_whose_way_has_refused_a_job_is_sent_it_again_when_it_asks_for_a_lease() -> None:
    async def go() -> None:
        job = RefusedJob()
        job.refuse()
        job.ask()
        assert [(run.branch.ranks(), run.gone) for run in job.sent] == [([0], True)]
        assert (job.obeyed, job.live.received.sent_again) == (["kill"], {0})
        assert 0 in job.live.unreached
        assert job.ask() == [(1,), (1,), ()]
        assert 0 not in job.live.unreached and len(job.sent) == 1

    run(go())


def test_a_rank_that_no_way_takes_is_lost_when_no_lease_or_grant_that_names_its_job_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was called lost at once, by the word of a rack master, which may have passed the job on: then it ran."""
    monkeypatch.setattr("gproc.service.ways.START_WITHIN_S", 0.05)
    monkeypatch.setattr("gproc.service.ways.LEASE_OVER_S", 0.01)

    async def go() -> None:
        job = RefusedJob()
        for _ in range(TRIES + 1):
            job.refuse()
            job.ask()
        assert len(job.sent) == TRIES
        given_up_s = boottime_s()
        assert job.ask() == [(), (1,), ()] and not job.lost
        job.nodes[0].granted_s = boottime_s() + 0.2
        await job.is_lost.wait()
        assert boottime_s() > max(job.nodes[0].granted_s, given_up_s + 0.05)
        assert job.lost == [(0, "the job did not get there: no")]

    run(go())


class Waiting:
    """A job of which more nodes may begin."""

    job = SimpleNamespace(window=1, over=False)


def test_jobs_get_their_turns_in_the_order_in_which_they_have_room() -> None:
    """It was that of their addresses in memory, so that a seed of the simulator made another run at times."""
    asked: list[object] = []
    turns = JobTurns(cast(Any, None), cast(Any, None))
    turns.next_of = lambda live, window: asked.append(live) or []  # type: ignore[func-returns-value,method-assign]
    lives: list[Any] = [Waiting() for _ in range(200)]

    async def have_room() -> None:
        for live in reversed(lives):
            turns.have_room(live)
        turns._take()

    run(have_room())
    assert asked == lives[::-1]


def test_a_relay_that_has_a_job_of_the_master_before_hears_that_it_is_over() -> None:
    """Its rank was lost before that master crashed, so the next one did not send it, and it kept the job for ever."""
    registry = Registry()
    for route in (Route((1,)), Route((1, 2)), Route((1, 2, 3)), Route((4,))):
        registry.arrive(route, NodeInfo(format_path(route), "h:1", format_path(route).encode().ljust(16), "", 0.0))
    heard: list[str] = []
    master: Any = SimpleNamespace(grant_again=lambda node: heard.append(node.info.name))
    live: Any = SimpleNamespace(rank_on={b"1/2/3".ljust(16): 0, b"4".ljust(16): 1, b"gone".ljust(16): 2})
    live.relayed = SimpleNamespace(reaches=lambda rank: rank == 1)
    JobWays(master, RunningJobs(), lambda _: None).released(live, registry)
    assert heard == ["1", "1/2", "1/2/3"]


def test_a_grant_names_a_job_until_its_release_is_sent() -> None:
    """A relay let go of it by a grant before, and those below were never told that it is over."""
    steps: list[tuple[str, set[int]]] = []
    service = JobService.__new__(JobService)
    master: Any = SimpleNamespace(registry=None, release=lambda word: steps.append((word, set(service.unreleased))))
    live: Any = SimpleNamespace(job=SimpleNamespace(number=7), input_log=None, release=lambda: "release")
    service._master, service._live, service.unreleased = master, RunningJobs({7: live}), set()
    service._table, service._book = cast(Any, SimpleNamespace(remove=steps.count)), cast(Any, SimpleNamespace(note=id))
    told = SimpleNamespace(released=lambda *_: steps.append(("grants", set(service.unreleased))))
    service.ways = cast(JobWays, told)
    service._forget(live)
    assert (service.running(), service.unreleased) == ([], {7})
    service._release(live)
    assert steps == [("release", {7}), ("grants", set())]
